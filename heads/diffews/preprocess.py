"""Prepare pictures and masks for the network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backbones.backbone import Description
from backbones.errors import InvalidInput
from heads.images import resample

IMAGE_SIZE = 512
"""Side in pixels of the published networks, whatever the native size of their backbone."""


def input_size(backbone: Description) -> int:
    """Side in pixels of the square that pictures are squashed to: the published one, or a small network's own."""
    return min(IMAGE_SIZE, backbone.image_size)


def pixel_values(image: NDArray[np.uint8], size: int) -> Tensor:
    """(3, size, size) float32 in [-1, 1]: the picture squashed to a square, its aspect ratio not kept.

    image: (H, W, 3) uint8 RGB. Pillow's antialiased bilinear filter is part of the result: torch's is a level off.
    Raises InvalidInput for another shape or number type.
    Source: DiffewS (arXiv:2410.02369), the transform of `evaluation_util/data/dataset.py`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInput(
            "image", f"{image.shape} {image.dtype} where (H, W, 3) uint8 belongs", hint="send an RGB picture"
        )
    squashed = resample(Image.fromarray(image), (size, size), Image.Resampling.BILINEAR)
    array = torch.from_numpy(np.array(squashed, dtype=np.uint8)).permute(2, 0, 1).contiguous()
    return (array.float() / 255 - 0.5) / 0.5


def resize_labels(labels: NDArray[np.generic], size: int) -> NDArray[np.uint8]:
    """A mask or map of class indices, squashed to (size, size) uint8 by its nearest value.

    labels: (H, W), bool or whole numbers 0..255. Nearest as torch has it, floor(i * H / size): Pillow's and OpenCV's
    take other pixels.
    Source: `evaluation_util/data/{pascal,coco}.py`.
    """
    values = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.uint8)).float()
    resized = functional.interpolate(values[None, None], (size, size), mode="nearest")[0, 0]
    array: NDArray[np.uint8] = resized.to(torch.uint8).numpy()
    return array


def mask_pixel_values(mask: NDArray[np.generic]) -> Tensor:
    """(3, H, W) float32, 1 on the object and -1 elsewhere: a mask as the picture that the VAE encodes.

    mask: (H, W), bool or 0 and 1.
    """
    values = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))
    return (2 * values - 1).expand(3, -1, -1).contiguous()


def check_mask(mask: NDArray[np.generic], image: NDArray[np.uint8], size: int, field: str) -> NDArray[np.uint8]:
    """The mask at the network's size, (size, size) uint8 of 0 and 1.

    mask: (H, W), bool or 0 and 1, 1 on the object. image: (H, W, 3), the picture it belongs to.
    Raises InvalidInput, naming `field`, for a mask of another size than its picture, and for one without an object.
    """
    if mask.shape != image.shape[:2]:
        size_text = " x ".join(map(str, mask.shape[::-1]))
        raise InvalidInput(
            field,
            f"the mask is {size_text} pixels, its image {image.shape[1]} x {image.shape[0]}",
            hint="send a mask of its image's own size (after EXIF orientation), object white and the rest black",
        )
    if not mask.any():
        raise InvalidInput(field, "the mask is empty: no pixel of it is set", hint="mark the object in white")
    resized: NDArray[np.uint8] = (resize_labels(mask, size) != 0).astype(np.uint8)
    if not resized.any():
        raise InvalidInput(
            field,
            f"the object is too small: it vanishes at the network's {size} x {size} pixels",
            hint="crop the image around the object",
        )
    return resized
