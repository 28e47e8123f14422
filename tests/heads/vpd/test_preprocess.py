"""Sizes of images for the network, and their padding."""

from __future__ import annotations

import torch

from heads.images import pad_to_multiple
from heads.vpd.preprocess import ade_size, shorter_side
from heads.vpd.windows import flip_maps


def test_sizes_are_the_published_ones() -> None:
    assert ade_size((480, 640), 512) == (512, 683)
    assert ade_size((100, 2000), 512) == (102, 2048)
    assert ade_size((480, 640), 512, 1.25) == (640, 853)
    assert shorter_side((480, 640), 480) == (480, 640)
    assert shorter_side((100, 2000), 480) == (48, 960)
    assert shorter_side((1, 1), 64) == (64, 64)


def test_padding_changes_nothing_where_nothing_is_padded() -> None:
    pixels = torch.rand(3, 64, 128)
    assert torch.equal(pad_to_multiple(pixels, 64), pixels)
    assert torch.equal(flip_maps(flip_maps(pixels)), pixels)
