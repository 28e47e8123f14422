"""Images into networks' sizes and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.errors import InvalidInput
from heads.images import (
    check_image,
    fitted,
    letterbox,
    pad_to_multiple,
    resize,
    resize_maps,
    resize_sharp,
    to_pixel_values,
)

SIDES = st.integers(1, 90)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(SIDES, SIDES, SIDES, SIDES, st.booleans())
def test_a_letterbox_keeps_the_whole_image_and_knows_the_way_back(
    height: int, width: int, outer_height: int, outer_width: int, centred: bool
) -> None:
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    picture, box = letterbox(image, (outer_height, outer_width), fill=10, centred=centred)
    assert picture.shape == (outer_height, outer_width, 3)
    assert int((picture == 200).all(axis=2).sum()) == box.inner[0] * box.inner[1]
    assert box.inner[0] == outer_height or box.inner[1] == outer_width
    points = np.array([[0.0, 0.0], [width / 3, height / 2], [width, height]])
    assert np.allclose(box.points_to_original(box.points_from_original(points)), points)
    inside = torch.from_numpy((picture == 200).all(axis=2)).float()[None]
    back = box.undo(inside)
    assert back.shape == (1, height, width)
    assert float(back.min()) > 1 - 1e-6


def test_a_letterbox_puts_a_corner_where_it_was() -> None:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    image[:20, :30] = 255
    picture, box = letterbox(image, (32, 32), fill=0)
    back = box.undo(torch.from_numpy(picture[..., 0].astype(np.float32))[None])[0] > 127
    wrong = (back.numpy() != (image[..., 0] > 127)).mean()
    assert wrong < 0.05


def test_a_map_of_another_resolution_is_undone_too() -> None:
    _, box = letterbox(np.zeros((30, 60, 3), dtype=np.uint8), (64, 64))
    assert box.undo(torch.ones(2, 8, 8)).shape == (2, 30, 60)


@pytest.mark.parametrize(("shape", "size", "expected"), [((1, 100), (64, 64), (1, 64)), ((10, 20), (40, 40), (20, 40))])
def test_a_strip_keeps_one_pixel_of_height(shape: tuple[int, int], size: tuple[int, int], expected: object) -> None:
    assert fitted(shape, size) == expected


def test_padding_goes_right_and_below_with_zero() -> None:
    padded = pad_to_multiple(torch.ones(3, 5, 8), 8)
    assert padded.shape == (3, 8, 8)
    assert float(padded[:, :5].min()) == 1.0
    assert float(padded[:, 5:].abs().max()) == 0.0
    assert pad_to_multiple(padded, 8).shape == padded.shape


def test_the_two_ways_of_scaling_down_differ_as_they_should() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::4] = 252
    assert resize(stripes, (64, 16)).std() < 6  # with antialias a quarter is white everywhere
    assert resize_sharp(stripes, (64, 16)).max() != resize(stripes, (64, 16)).max()
    assert resize(stripes, (64, 64)) is stripes


def test_maps_keep_their_corners_where_corners_are_aligned() -> None:
    ramp = torch.linspace(0, 1, 4)[None, None].expand(1, 4, 4)
    aligned = resize_maps(ramp, (4, 7), align_corners=True)
    assert torch.allclose(aligned[0, 0], torch.linspace(0, 1, 7))
    assert not torch.allclose(resize_maps(ramp, (4, 7))[0, 0], torch.linspace(0, 1, 7))
    assert resize_maps(ramp[None], (8, 8)).shape == (1, 1, 8, 8)


def test_pixel_values_span_minus_one_to_one() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[0, 0] = 255
    values = to_pixel_values(image)
    assert values.shape == (3, 2, 3)
    assert values[:, 0, 0].tolist() == [1.0, 1.0, 1.0]
    assert values[:, 1, 1].tolist() == [-1.0, -1.0, -1.0]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        check_image(np.zeros(shape, dtype=np.uint8))
