"""The square image that Diffusion Classifier reads."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from heads.images import resample

Interpolation = Literal["bicubic", "bilinear", "lanczos"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def square(image: Image.Image, size: int, interpolation: Interpolation = "bicubic") -> Image.Image:
    """The middle of the image, shorter side scaled to `size`, as a `size` x `size` RGB picture.

    The resizing happens in the image's own mode, before the conversion to RGB: a palette image is therefore resized by
    nearest neighbour, and one with alpha is resized premultiplied and then loses its alpha. Pillow's antialiased
    filters are part of the result: other libraries give visibly other pixels.
    Source: Diffusion Classifier (arXiv:2303.16203), `get_transform` of eval_prob_adaptive.py.
    """
    width, height = image.size
    if min(width, height) != size:
        # The longer side is truncated, not rounded.
        scaled = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
        image = resample(image, scaled, _FILTERS[interpolation])
    width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size)).convert("RGB")


def halve_to_square(image: Image.Image, size: int) -> Image.Image:
    """The middle of the image as the class-conditional networks were trained on it, `size` x `size` RGB.

    Halved with a box filter while that leaves the shorter side `size` or more, then scaled bicubically and cropped.
    Source: `center_crop_arr` of guided-diffusion and DiT.
    """
    image = image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = resample(image, (image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = resample(image, (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def pixel_values(image: Image.Image) -> Tensor:
    """(3, H, W) float32 in [-1, 1] from an RGB picture."""
    array = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
    return (array.float() / 255 - 0.5) / 0.5
