"""Decoding and encoding of heat maps, at what the fixtures do not pin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heads.sdpose import codec
from heads.sdpose.skeletons import COCO_17

SIZE, MAP = (128, 192), (32, 48)


def gaussian(x: float, y: float, sigma: float = 2.0, height: float = 1.0) -> torch.Tensor:
    across, down = torch.arange(MAP[0]) - x, torch.arange(MAP[1]) - y
    return height * torch.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * sigma**2))


def test_a_map_of_zeros_scores_zero_and_is_a_number() -> None:
    # High at the place that the original would read next.
    before = torch.zeros(MAP[1], MAP[0])
    before[-1, -1] = 40.0
    points, scores = codec.decode(torch.stack([before, torch.zeros(MAP[1], MAP[0])]), SIZE)
    assert scores.tolist() == [40.0, 0.0]
    assert points[1].tolist() == pytest.approx([-SIZE[0] / (MAP[0] - 1), -SIZE[1] / (MAP[1] - 1)])


def test_a_negative_map_scores_its_maximum() -> None:
    points, scores = codec.decode(torch.full((1, MAP[1], MAP[0]), -0.25), SIZE)
    assert scores.tolist() == [-0.25]
    assert np.isfinite(points).all()


def test_values_under_the_lower_clip_do_not_move_a_point() -> None:
    # All logs are those of 1e-3, though the map falls off to the right.
    faint = gaussian(10.3, 20.0, height=5e-4)[None]
    points, _ = codec.decode(faint, SIZE)
    assert points[0].tolist() == pytest.approx([10 / 31 * 128, 20 / 47 * 192])


def test_a_peak_between_pixels_is_found_there() -> None:
    points, _ = codec.decode(gaussian(10.3, 20.8)[None], SIZE)
    assert points[0] / SIZE * (np.array(MAP) - 1) == pytest.approx([10.3, 20.8], abs=0.02)


def test_maps_are_decoded_alone() -> None:
    maps = torch.rand(5, 17, MAP[1], MAP[0], generator=torch.Generator().manual_seed(0))
    together, scores = codec.decode(maps, SIZE)
    for index in range(5):
        alone, its_scores = codec.decode(maps[index], SIZE)
        np.testing.assert_allclose(alone, together[index], rtol=0, atol=1e-6)
        assert (its_scores == scores[index]).all()


def test_without_persons_there_are_no_points() -> None:
    points, scores = codec.decode(torch.zeros(0, 17, MAP[1], MAP[0]), SIZE)
    assert points.shape == (0, 17, 2)
    assert scores.shape == (0, 17)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_decode(dtype: torch.dtype) -> None:
    points, _ = codec.decode(gaussian(10.0, 20.0)[None].to(dtype), SIZE)
    assert points[0] / SIZE * (np.array(MAP) - 1) == pytest.approx([10.0, 20.0], abs=0.1)


def test_encoding_then_decoding_is_off_by_the_published_factor() -> None:
    keypoints = torch.tensor([[30.0, 50.0], [64.2, 100.7], [100.0, 150.0]])
    maps, weights = codec.encode(keypoints, torch.ones(3), SIZE, MAP, sigma=3.0)
    assert weights.tolist() == [1.0, 1.0, 1.0]
    points, _ = codec.decode(maps, SIZE)
    assert points == pytest.approx(keypoints.numpy() * [128 / 127, 192 / 191], abs=0.1)


def test_merging_mirrors_back_and_exchanges_sides() -> None:
    maps = torch.zeros(17, 4, 5)
    maps[1, 2, 0] = 1.0  # the left eye, at the left border
    mirrored = torch.zeros(17, 4, 5)
    mirrored[2, 2, 4] = 1.0  # in the mirrored crop it is a right eye at the right border
    assert torch.equal(codec.merge_flipped(maps, mirrored, COCO_17.flip_indices), maps)
