"""Sizes of images for the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backbones.errors import InvalidInput
from heads.marigold.preprocess import check_members, choose_working_size, fit_image, resize_to_image


def test_the_longer_side_is_the_resolution_and_no_side_vanishes() -> None:
    assert choose_working_size(480, 640, 768) == (576, 768)
    assert choose_working_size(480, 640, 0) == (480, 640)
    assert choose_working_size(1, 2000, 64) == (1, 64)
    with pytest.raises(InvalidInput, match="2048"):
        choose_working_size(10, 3000, 0)


def test_an_image_is_padded_with_its_own_edge() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    pixels, size = fit_image(image, 0, 8)
    assert size == (5, 7)
    assert pixels.shape == (3, 8, 8)
    torch.testing.assert_close(pixels[:, :, 7], pixels[:, :, 6])
    torch.testing.assert_close(pixels[:, 7], pixels[:, 4])
    assert fit_image(image, 16, 8)[0].shape == (3, 16, 16)


def test_maps_come_back_at_the_images_size() -> None:
    assert resize_to_image(torch.rand(2, 4, 5), (9, 11)).shape == (2, 9, 11)


def test_members_have_so_many_pixels_together() -> None:
    check_members(20, (576, 768))
    with pytest.raises(InvalidInput, match="83,886,080 pixels"):
        check_members(20, (2048, 2048))
