"""Windows over an image, and how their results are merged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of `crop` begin along an axis of `length`, the last shifted back inside.

    Source: `slide_inference` of mmsegmentation's EncoderDecoder.
    """
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride + crop, length) - crop, 0) for index in range(count)]


def even_starts(length: int, crop: int, count: int) -> list[int]:
    """Starts of `count` evenly spaced windows of `crop`, the last at the end; more if they would not cover everything.

    Source: `depth/test.py` of wl-zhao/VPD, whose last window leaves a remainder uncovered where it does not divide.
    """
    count = max(count, -(-length // crop))
    if count == 1 or length <= crop:
        return [0]
    return [index * (length - crop) // (count - 1) for index in range(count)]


def merge_windows(windows: Sequence[Tensor], starts: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """Windows (C, h, w) float at (y, x) on a canvas (C, *size): their mean where several lie."""
    canvas = windows[0].new_zeros((len(windows[0]), *size))
    counts = windows[0].new_zeros((1, *size))
    for window, (y, x) in zip(windows, starts, strict=True):
        height, width = window.shape[-2:]
        canvas[:, y : y + height, x : x + width] += window
        counts[:, y : y + height, x : x + width] += 1
    return canvas / counts


def flip_maps(maps: Tensor) -> Tensor:
    """(..., H, W), left and right exchanged."""
    return torch.flip(maps, dims=(-1,))
