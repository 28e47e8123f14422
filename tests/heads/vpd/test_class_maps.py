"""Strips of an image get the classes that the whole gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backbones.engine import DirectEngine, complete
from heads.images import resize_maps
from heads.vpd.class_maps import likeliest_classes, resize_rows, strips
from heads.vpd.heads import Head, SegmentationHead


@pytest.mark.parametrize("size", [(90, 41), (11, 70), (1, 1), (37, 53), (640, 3)])
def test_rows_are_those_of_the_whole(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(4, 37, 53)
    whole = resize_maps(maps, size)
    for most_values in (1, 4 * size[1] * 7):
        rows = [resize_rows(maps, size, top, bottom) for top, bottom in strips(4, size, most_values)]
        assert torch.allclose(torch.cat(rows, dim=1), whole, atol=1e-4)  # the kernel rounds places once less


@pytest.mark.parametrize("mirrored", [(False,), (False, True)])
def test_strips_find_the_classes_of_the_whole(
    engine: DirectEngine, heads: dict[str, Head], mirrored: tuple[bool, ...]
) -> None:
    head = heads["segmentation"]
    assert isinstance(head, SegmentationHead)
    torch.manual_seed(0)
    maps = [3 * torch.randn(len(head.classes), 20 + place, 30) for place in range(len(mirrored))]
    whole, cut = (
        complete(likeliest_classes(engine, maps, head, (150, 110), mirrored=mirrored, most_values=most))
        for most in (10**9, 10_000)
    )
    assert np.allclose(whole.probabilities, cut.probabilities, atol=1e-5)
    assert (whole.class_map == cut.class_map).mean() > 0.999
    assert whole.class_map.dtype == cut.class_map.dtype == np.uint16
