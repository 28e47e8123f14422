"""Squares of the network's size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.errors import InvalidInput
from heads.feature_pooling.preprocess import (
    CropDraw,
    draw_training_crop,
    evaluation_crop,
    fit_image,
    pixel_values,
    training_crop,
)

sides = st.integers(1, 200)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(height=sides, width=sides, size=st.integers(1, 48), fit=st.sampled_from(["crop", "pad", "squash"]))
def test_every_fit_gives_a_square_of_the_requested_size(height: int, width: int, size: int, fit: str) -> None:
    image = np.full((height, width, 3), (10, 120, 250), np.uint8)
    square = fit_image(image, size, fit)  # type: ignore[arg-type]
    assert square.shape == (size, size, 3)
    assert square.dtype == np.uint8
    if fit != "pad":
        assert (square == (10, 120, 250)).all()


def test_a_square_of_the_right_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for fit in ("crop", "pad", "squash"):
        np.testing.assert_array_equal(fit_image(image, 32, fit), image)


def test_the_crop_keeps_the_middle_and_mirrors_with_the_image() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 16:48] = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(evaluation_crop(image, 32), image[:, 16:48])
    np.testing.assert_array_equal(evaluation_crop(image[:, ::-1], 32), evaluation_crop(image, 32)[:, ::-1])


def test_large_images_are_halved_by_averaging_first() -> None:
    checkers = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    square = evaluation_crop(np.repeat(checkers[..., None], 3, axis=2), 32)
    assert np.ptp(square) == 0
    assert int(square[0, 0, 0]) in (127, 128)


def test_padding_is_grey_and_keeps_the_whole_image() -> None:
    square = fit_image(np.full((16, 64, 3), 200, np.uint8), 32, "pad")
    assert (square[:12] == 127).all()
    assert (square[20:] == 127).all()
    assert (square[12:20] == 200).all()


def test_very_long_images_do_not_blow_up() -> None:
    image = np.zeros((1, 30000, 3), np.uint8)
    image[:, 15000:] = 255
    square = evaluation_crop(image, 64)
    assert square.shape == (64, 64, 3)
    assert square.min() < 64
    assert square.max() > 191


@settings(deadline=None, max_examples=40, derandomize=True)
@given(height=sides, width=sides, seed=st.integers(0, 10))
def test_drawn_training_crops_lie_inside_the_scaled_image(height: int, width: int, seed: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    draw = draw_training_crop(image, 24, np.random.default_rng(seed))
    assert 24 <= draw.shorter_side <= 30
    assert training_crop(image, 24, draw).shape == (24, 24, 3)


def test_the_mirror_comes_after_the_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    plain, mirrored = (training_crop(image, 32, CropDraw(36, 2, 5, flip)) for flip in (False, True))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_a_crop_that_leaves_the_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="leaves"):
        training_crop(np.zeros((40, 60, 3), np.uint8), 32, CropDraw(36, 5, 0, False))


def test_pixel_values_span_minus_one_to_one() -> None:
    image = np.array([[[0, 255, 51]]], np.uint8)
    values = pixel_values(image)
    assert values.shape == (3, 1, 1)
    np.testing.assert_allclose(values.flatten().numpy(), [-1.0, 1.0, -0.6], atol=1e-6)
