"""The sizes of images for the three heads."""

from __future__ import annotations

MOST_ASPECT = 2.0
"""Beyond this aspect ratio the longer side decides: a panorama is scaled down instead of costing a multiple of the
work.
"""

ADE_LONGEST = 2048
"""Longest side of an ADE20K picture in the published protocol, whose shorter one is 512."""


def shorter_side(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """(height, width) of an image (H, W, ...) scaled to a shorter side of `size`, the longer at most twice as long.

    The aspect ratio is kept, except that no side is less than a pixel.
    """
    height, width = shape[:2]
    scale = min(size / min(height, width), MOST_ASPECT * size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def ade_size(shape: tuple[int, ...], size: int, ratio: float = 1.0) -> tuple[int, int]:
    """(height, width) of an image (H, W, ...) scaled to fit `size` by four times `size`, times `ratio`.

    Source: the config's `Resize(img_scale=(2048, 512), keep_ratio=True)`; mmcv's `imrescale` rounds by adding 0.5.
    """
    height, width = shape[:2]
    shorter, longer = int(size * ratio), int(size * ADE_LONGEST / 512 * ratio)
    scale = min(shorter / min(height, width), longer / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
