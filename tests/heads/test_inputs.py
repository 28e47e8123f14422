"""Decoded images as heads get them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from heads.inputs import DecodedImage, Inputs, describe_image
from service.inputs.images import decode_image
from service.settings.groups import LimitSettings


def test_width_and_height_are_those_of_the_upright_array() -> None:
    image = DecodedImage(np.zeros((3, 5, 3), np.uint8), exif_orientation=6, format="JPEG")
    answer = describe_image(image)
    assert (answer.width, answer.height, answer.exif_orientation, answer.format) == (5, 3, 6, "JPEG")


def test_one_image_is_the_first_of_several() -> None:
    images = [DecodedImage(np.full((2, 2, 3), value, np.uint8)) for value in (1, 2)]
    inputs = Inputs(images)
    assert inputs.image is images[0].array
    assert [int(array[0, 0, 0]) for array in inputs.arrays] == [1, 2]


WHITE, BLACK = [255, 255, 255], [0, 0, 0]


@pytest.mark.field
@pytest.mark.parametrize(
    ("pixels", "painted"),
    [
        ([[*WHITE, 255], [*BLACK, 0]], [255, 0]),
        ([[*WHITE, 255], [*WHITE, 0]], [255, 0]),
        ([[200, 30, 30, 255], [200, 30, 30, 0]], [200, 0]),
        ([[*BLACK, 255], [*BLACK, 0]], [255, 0]),
        ([[*BLACK, 255], [*WHITE, 255]], [0, 255]),
        ([[*BLACK, 128], [*BLACK, 0]], [128, 0]),
        ([[*WHITE, 0], [*BLACK, 0]], [0, 0]),
    ],
)
def test_a_mask_is_the_painted_pixels_and_not_the_transparent_ones(pixels: list[list[int]], painted: list[int]) -> None:
    file = BytesIO()
    Image.fromarray(np.array([pixels], np.uint8)).save(file, "PNG")
    mask = decode_image(file.getvalue(), LimitSettings()).mask
    assert mask.shape == (1, 2, 3)
    assert mask.max(axis=2)[0].tolist() == painted
