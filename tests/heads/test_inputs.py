"""Decoded images as heads get them."""

from __future__ import annotations

import numpy as np

from heads.inputs import DecodedImage, Inputs, describe_image


def test_width_and_height_are_those_of_the_upright_array() -> None:
    image = DecodedImage(np.zeros((3, 5, 3), np.uint8), exif_orientation=6, format="JPEG")
    answer = describe_image(image)
    assert (answer.width, answer.height, answer.exif_orientation, answer.format) == (5, 3, 6, "JPEG")


def test_one_image_is_the_first_of_several() -> None:
    images = [DecodedImage(np.full((2, 2, 3), value, np.uint8)) for value in (1, 2)]
    inputs = Inputs(images)
    assert inputs.image is images[0].array
    assert [int(array[0, 0, 0]) for array in inputs.arrays] == [1, 2]
