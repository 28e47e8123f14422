"""From logits at the network's size to the class of every pixel of an image, a strip of rows at a time.

At the size of a photograph the probabilities of 150 classes take 600 bytes a pixel, of which two are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine
from heads.images import resize_maps
from heads.results import ClassMap
from heads.vpd.heads import SegmentationHead
from heads.vpd.windows import flip_maps

MOST_VALUES = 32 * 1024 * 1024
"""Values of one strip over all classes and columns: 128 MiB in float32. Smaller images are one strip."""


def strips(classes: int, size: tuple[int, int], most_values: int = MOST_VALUES) -> Iterator[tuple[int, int]]:
    """First and past-the-end row of each strip of an image of `size` (height, width)."""
    height, width = size
    rows = max(1, most_values // (classes * width))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def resize_rows(maps: Tensor, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """Rows top..bottom of `resize_maps(maps, size)`: maps (C, h, w) float -> (C, bottom - top, W).

    Source: PyTorch's bilinear interpolation, `area_pixel_compute_source_index` with align_corners=False.
    """
    if (top, bottom) == (0, size[0]):
        return resize_maps(maps, size)
    height = maps.shape[-2]
    scale = torch.tensor(height, dtype=torch.float32) / size[0]
    # On the host, so that the device does only the gathering below.
    places = ((torch.arange(top, bottom, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
    upper = places.long().clamp(max=height - 1)
    lower = (upper + 1).clamp(max=height - 1)
    share = (places - upper)[:, None].to(maps)
    first, last = int(upper[0]), int(lower[-1]) + 1
    # Only rows of the network's map that this strip needs are resized.
    wide = resize_maps(maps[:, first:last], (last - first, size[1]))
    upper, lower = (rows.to(maps.device) - first for rows in (upper, lower))
    return torch.lerp(wide[:, upper], wide[:, lower], share)


def small_indices(chosen: Tensor) -> NDArray[np.uint16]:
    """Indices (H, W) int64 of classes on the host; converted to two bytes a pixel before they are copied."""
    return chosen.to(torch.int16).cpu().numpy().astype(np.uint16)


async def likeliest_classes(
    engine: Engine,
    logits: Sequence[Tensor],
    head: SegmentationHead,
    size: tuple[int, int],
    *,
    mirrored: Sequence[bool] = (False,),
    most_values: int = MOST_VALUES,
) -> ClassMap:
    """The likeliest class of every pixel of an image of `size`, by the mean probability over several maps.

    logits: (K, h, w) float each, of any size. mirrored: whether each is of the image's mirror image.
    """
    class_map = np.empty(size, np.uint16)
    probabilities = np.empty(size, np.float32)

    def look(top: int, bottom: int) -> None:
        total: Tensor | None = None
        for map_logits, turned in zip(logits, mirrored, strict=True):
            shares = resize_rows(map_logits, size, top, bottom).softmax(dim=0)
            shares = flip_maps(shares) if turned else shares
            total = shares if total is None else total.add_(shares)
        assert total is not None
        best, chosen = (total.div_(len(logits)) if len(logits) > 1 else total).max(dim=0)
        class_map[top:bottom] = small_indices(chosen)
        probabilities[top:bottom] = best.float().cpu().numpy()

    # Each strip is a separate item, so that other requests' work can run in between.
    for top, bottom in strips(len(head.classes), size, most_values):
        await engine.run(look, top, bottom)
    return ClassMap(class_map, head.classes, head.palette, probabilities)
