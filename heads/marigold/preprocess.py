"""Prepare images for the network, and resize maps back to the image's own pixels.

Source: Marigold (arXiv:2312.02145); diffusers' `MarigoldImageProcessor`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from backbones.errors import InvalidInput
from heads.images import to_pixel_values

MAX_SIDE = 2048
"""Largest side in pixels that the network is run at."""
MAX_MEMBER_PIXELS = 1 << 24
"""Most pixels of all members of an ensemble together, which are all in memory at once."""


def choose_working_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """(height, width) that an image is scaled to: the longer side is `resolution`; 0 keeps the image's own size.

    A side that would vanish is one pixel; the original refuses such images.
    Raises InvalidInput for an own size that is larger than `MAX_SIDE`.
    """
    longer = max(height, width)
    if resolution == 0:
        if longer > MAX_SIDE:
            raise InvalidInput(
                "resolution",
                f"the image is {width} x {height} pixels, and the network takes at most {MAX_SIDE}",
                hint=f"leave `resolution` out, or send up to {MAX_SIDE}",
            )
        return height, width
    return max(1, height * resolution // longer), max(1, width * resolution // longer)


def check_members(count: int, size: tuple[int, int]) -> None:
    """Raises InvalidInput for an ensemble of `count` members whose (height, width) make too many pixels together."""
    pixels = count * size[0] * size[1]
    if pixels > MAX_MEMBER_PIXELS:
        raise InvalidInput(
            "ensemble_size",
            f"{count} predictions of {size[1]} x {size[0]} are {pixels:,} pixels; the limit is {MAX_MEMBER_PIXELS:,}",
            hint="send a smaller `ensemble_size` or `resolution`",
        )


def fit_image(image: NDArray[np.uint8], resolution: int, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Pixel values (3, H', W') float32 in [-1, 1], and the (height, width) of them that the image fills.

    image: (H, W, 3) uint8 RGB. It is scaled bilinearly with antialias, and its last row and column are repeated until
    both sides are multiples of `multiple`. Raises what `choose_working_size` raises.
    """
    size = choose_working_size(image.shape[0], image.shape[1], resolution)
    pixels = to_pixel_values(image)[None]
    if resolution:
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    padded = functional.pad(pixels, (0, -size[1] % multiple, 0, -size[0] % multiple), mode="replicate")
    return padded[0], size


def resize_to_image(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (C, h, w) float32 at the image's (height, width), bilinear without antialias: (C, height, width)."""
    return functional.interpolate(maps[None], size, mode="bilinear")[0]


def content_of(image: NDArray[np.uint8]) -> Tensor:
    """The image's pixels as a tensor, (H, W, 3) uint8, for a key of its content."""
    return torch.from_numpy(np.ascontiguousarray(image))
