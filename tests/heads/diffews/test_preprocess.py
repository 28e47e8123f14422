"""The network's input, and which masks are refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from heads.diffews.preprocess import check_mask, mask_pixel_values, pixel_values, resize_labels
from tests.heads.diffews.conftest import disc, picture


def test_pictures_are_squashed_into_the_range_of_the_network() -> None:
    pixels = pixel_values(picture(1), 64)
    assert pixels.shape == (3, 64, 64)
    assert -1 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_a_picture_of_the_networks_size_is_only_scaled() -> None:
    image = picture(2, 64, 64)
    np.testing.assert_allclose(pixel_values(image, 64).permute(1, 2, 0), image / 127.5 - 1, atol=1e-6)


def test_nearest_takes_the_pixel_before_not_the_centre() -> None:
    labels = np.arange(10)[None].repeat(10, 0)
    assert resize_labels(labels, 4)[0].tolist() == [0, 2, 5, 7]  # centres would give 1, 3, 6, 8


def test_masks_become_white_on_black() -> None:
    painted = mask_pixel_values(disc())
    assert painted.shape == (3, 50, 70)
    assert (painted[0].numpy() == np.where(disc(), 1, -1)).all()
    assert (painted[0] == painted[2]).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((70, 50), bool), "50 x 70 pixels, its image 70 x 50"),
        (np.zeros((50, 70), bool), "empty"),
        (np.ones((50, 70, 3), bool), "its image 70 x 50"),
    ],
)
def test_an_empty_mask_or_one_of_another_shape_is_refused(mask: NDArray[np.bool_], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        check_mask(mask, picture(1), 64, "supports.2.mask")
    assert refused.value.field == "supports.2.mask"


def test_an_object_that_vanishes_in_the_resize_is_refused() -> None:
    image = picture(1, 640, 640)
    mask = np.zeros((640, 640), bool)
    mask[3, 3] = True
    with pytest.raises(InvalidInput, match="too small"):
        check_mask(mask, image, 64, "mask")


def test_an_array_that_is_no_picture_is_refused() -> None:
    with pytest.raises(InvalidInput):
        pixel_values(np.zeros((5, 5), np.uint8), 64)
