"""The square picture. Equality with the original's pixels is proved by the conformance cases."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from heads.diffusion_classifier.preprocess import pixel_values, square


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 200), (300, 7), (63, 64)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_any_image_becomes_a_square_of_rgb(size: tuple[int, int], mode: str) -> None:
    image = square(Image.new(mode, size), 64)
    assert (image.size, image.mode) == ((64, 64), "RGB")


def test_the_middle_is_kept() -> None:
    array = np.zeros((64, 192, 3), np.uint8)
    array[:, 64:128] = 200
    assert (np.asarray(square(Image.fromarray(array), 64)) == 200).all()


def test_pixel_values_reach_from_minus_one_to_one() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    array[0] = 255
    values = pixel_values(Image.fromarray(array))
    assert values.shape == (3, 2, 2)
    assert (values[:, 0] == 1).all()
    assert (values[:, 1] == -1).all()
