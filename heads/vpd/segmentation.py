"""Semantic segmentation of an image of any size: one pass, sliding windows, or several scales and mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine
from heads.images import check_image, pad_to_multiple, resize, resize_maps, resize_sharp, to_pixel_values
from heads.results import ClassMap
from heads.vpd.features import make_row, pyramid
from heads.vpd.heads import SegmentationHead, in_chunks
from heads.vpd.preprocess import ade_size, shorter_side
from heads.vpd.windows import flipped, grid_starts, merged

Protocol = Literal["fast", "slide", "multiscale"]

RATIOS = (1.0, 1.125, 1.25, 1.375, 1.5)
CELL = 8


async def predict_segmentation(
    engine: Engine, image: NDArray[np.uint8], head: SegmentationHead, *, protocol: Protocol = "fast"
) -> ClassMap:
    """The class of every pixel of `image`, (H, W, 3) uint8 RGB.

    protocol: "fast" scales the whole image and asks once. "slide" is the published single-scale protocol: windows of
    `head.size` with a stride of two thirds. "multiscale" is the published one of five scales and their mirror images:
    the mean of ten maps of probabilities.
    """
    check_image(image)
    original = (image.shape[0], image.shape[1])
    if protocol == "fast":
        size = shorter_side(image.shape, head.size)
        pixels = await engine.run_on_host(lambda: to_pixel_values(resize(image, size)))
        (logits,) = await logits_of_pixels(engine, [pixels], head)
        probabilities = await engine.run(lambda: resize_maps(logits, original).softmax(dim=0))
        return await engine.run(class_map, probabilities, head)
    ratios, mirror = (RATIOS, True) if protocol == "multiscale" else ((1.0,), False)
    total: Tensor | None = None
    for ratio in ratios:
        size = ade_size(image.shape, head.size, ratio)
        pixels = await engine.run_on_host(lambda size=size: to_pixel_values(resize_sharp(image, size)))
        for turned in (False, True)[: 1 + mirror]:
            given = flipped(pixels) if turned else pixels
            found = await slide_probabilities(engine, given, head, original)
            found = flipped(found) if turned else found
            total = found if total is None else total + found
    assert total is not None
    return await engine.run(class_map, total / (len(ratios) * (1 + mirror)), head)


def class_map(probabilities: Tensor, head: SegmentationHead) -> ClassMap:
    """The likeliest class of probabilities (K, H, W)."""
    best, chosen = probabilities.max(dim=0)
    indices = chosen.cpu().numpy().astype(np.uint16)
    return ClassMap(indices, head.classes, head.palette, best.float().cpu().numpy())


async def slide_probabilities(
    engine: Engine,
    pixel_values: Tensor,
    head: SegmentationHead,
    output: tuple[int, int],
    *,
    stride: int | None = None,
) -> Tensor:
    """Probabilities (K, *output) of a picture (3, H, W) in [-1, 1], by windows whose logits are averaged.

    All windows are rows of one asking; mmsegmentation's own loop asks for one after the other.
    stride: pixels between windows; two thirds of the window where none is given (341 of 512).
    Source: `slide_inference` of mmsegmentation's EncoderDecoder.
    """
    height, width = pixel_values.shape[-2:]
    crop = head.size
    stride = stride or crop * 2 // 3
    starts = [(y, x) for y in grid_starts(height, crop, stride) for x in grid_starts(width, crop, stride)]
    windows = [pixel_values[:, y : y + crop, x : x + crop] for y, x in starts]
    found = await logits_of_pixels(engine, windows, head)
    return await engine.run(lambda: resize_maps(merged(found, starts, (height, width)), output).softmax(dim=0))


async def logits_of_pixels(engine: Engine, pixel_values: Sequence[Tensor], head: SegmentationHead) -> list[Tensor]:
    """Logits (K, H, W) float32 of pictures that the encoder takes as they are: (3, H, W) in [-1, 1], one size."""
    height, width = pixel_values[0].shape[-2:]
    padded = [pad_to_multiple(one, head.taps.stride) for one in pixel_values]
    capture = head.taps.capture(maps=True)
    latents = await engine.encode(padded)
    captures = await engine.unet([make_row(one, head.contexts, capture, head.variant) for one in latents])

    def decode() -> list[Tensor]:
        pyramids = [pyramid(one, head.taps, maps=True) for one in captures]
        return [enlarged(one, (height, width)) for one in in_chunks(head.network, pyramids)]

    return await engine.run(decode)


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (K, h, w) at an eighth of the padded picture -> (K, *size), bilinear, what was padded cut off."""
    whole = (logits.shape[-2] * CELL, logits.shape[-1] * CELL)
    with torch.no_grad():
        return resize_maps(logits, whole)[..., : size[0], : size[1]]
