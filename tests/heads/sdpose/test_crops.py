"""Boxes to crops and points back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heads.sdpose import crops

SIZE = (96, 128)
coordinate = st.floats(-300, 300, width=32)
side = st.floats(1, 400, width=32)


@settings(deadline=None, derandomize=True)
@given(coordinate, coordinate, side, side)
def test_the_affine_way_back_is_the_literal_inverse(x: float, y: float, width: float, height: float) -> None:
    xyxy = crops.corners(np.array([[x, y, width, height]]))
    center, padded = crops.centers_and_scales(xyxy)
    scale = crops.fix_aspect(padded, SIZE)[0]
    assert scale[0] / scale[1] == pytest.approx(SIZE[0] / SIZE[1], rel=1e-5)
    _, region = crops.affine_crop(np.zeros((2, 2, 3), np.uint8), xyxy[0], SIZE)
    points = np.array([[x, y], [x + width, y + height]])
    matrix = crops.warp_matrix(center[0], scale, SIZE).astype(np.float64)
    in_crop = points @ matrix[:, :2].T + matrix[:, 2]
    back = crops.to_image(in_crop, region, SIZE)
    # Off by (size - 1) / size from the crop's corner, as published.
    assert back == pytest.approx(points, abs=0.011 * float(scale.max()) + 1e-3)


def test_pixels_outside_the_image_are_black() -> None:
    crop, _ = crops.affine_crop(np.full((50, 50, 3), 200, np.uint8), np.array([0, 0, 50, 50], np.float32), SIZE)
    assert (crop[0] == 0).all()
    assert (crop[SIZE[1] // 2, SIZE[0] // 2] == 200).all()


def test_the_whole_image_is_stretched_and_comes_back() -> None:
    image: NDArray[np.uint8] = np.tile(np.arange(0, 200, dtype=np.uint8)[None, :, None], (40, 1, 3))
    crop, region = crops.stretch_crop(image, None, SIZE)
    assert crop.shape == (128, 96, 3)
    assert abs(int(crop[5, 48, 0]) - 100) <= 2
    assert crops.to_image(np.array([[96.0, 128.0]]), region, SIZE).tolist() == [[200.0, 40.0]]


@pytest.mark.parametrize("box", [[300, 0, 320, 20], [10.6, 10, 10.9, 30]])
def test_a_box_of_which_nothing_is_left_stands_for_the_whole_image(box: list[float]) -> None:
    _, region = crops.stretch_crop(np.zeros((40, 60, 3), np.uint8), np.array(box, np.float32), SIZE)
    assert region.origin.tolist() == [0, 0]
    assert region.scale.tolist() == [60, 40]


def test_stretched_boxes_are_truncated_towards_zero_and_clipped() -> None:
    _, region = crops.stretch_crop(np.zeros((40, 60, 3), np.uint8), np.array([-0.9, -5, 20.9, 99], np.float32), SIZE)
    assert region.origin.tolist() == [0, 0]
    assert region.scale.tolist() == [20, 40]


def test_pixels_go_from_minus_one_to_one() -> None:
    pixels = crops.pixel_values(np.array([[[0, 51, 255]]], dtype=np.uint8))
    assert pixels.flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0])
