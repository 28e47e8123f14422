"""Resize images for networks, and results back to the original pixels."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backbones.errors import InvalidInput


def resample(image: Image.Image, size: tuple[int, int], filter: Image.Resampling) -> Image.Image:
    """The image at `size`, (width, height), by a filter of Pillow, the same whichever Pillow is installed.

    Pillow filters one axis after the other and rounds in between, so the order shows in the last digit. From version 13
    on it takes the rows first where the height shrinks by more than twice as many pixels as the width. The fixtures of
    the original systems have this order; it is used here with older versions too.
    """
    (width, height), (new_width, new_height) = image.size, size
    if not (height - new_height > max(0, 2 * (width - new_width)) and new_width != width):
        return image.resize(size, filter)
    if image.mode in ("1", "P"):  # For these modes Pillow takes the nearest pixel, so the order has no effect.
        return image.resize(size, filter)
    premultiplied = {"LA": "La", "RGBA": "RGBa"}.get(image.mode)
    rows = (image.convert(premultiplied) if premultiplied else image).resize((width, new_height), filter)
    both = rows.resize(size, filter)
    return both.convert(image.mode) if premultiplied else both


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear with antialias, as Pillow does it: (H, W, 3) uint8 -> (height, width, 3) uint8.

    size: (height, width); the shape is not kept.
    """
    if image.shape[:2] == size:
        return image
    return np.asarray(resample(Image.fromarray(image), size[::-1], Image.Resampling.BILINEAR))


def resize_sharp(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear without antialias, as OpenCV does it: (H, W, 3) uint8 -> (height, width, 3) uint8."""
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def resize_maps(maps: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Maps (C, H, W) or (B, C, H, W) float at another (height, width), bilinear without antialias."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    batched = maps if maps.ndim == 4 else maps[None]
    resized = functional.interpolate(batched, size, mode="bilinear", align_corners=align_corners)
    return resized if maps.ndim == 4 else resized[0]


def pad_to_multiple(pixel_values: Tensor, multiple: int) -> Tensor:
    """(C, H, W) float, padded right and bottom with 0 to (C, ceil, ceil), sides a multiple of `multiple`.

    The inverse is a slice: `[..., :H, :W]`.
    """
    height, width = pixel_values.shape[-2:]
    return functional.pad(pixel_values, (0, -width % multiple, 0, -height % multiple))


def to_pixel_values(image: NDArray[np.uint8]) -> Tensor:
    """The input of an encoder: (H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1], as 2 * (x / 255) - 1."""
    scaled = torch.from_numpy(np.array(image.transpose(2, 0, 1), dtype=np.float32, order="C"))
    return 2 * (scaled / 255) - 1


def distinct_colours(count: int) -> NDArray[np.uint8]:
    """(count, 3) uint8 RGB: hues a golden section apart, so that neighbours in the list differ most."""
    hues = [(0.02 + 0.61803398875 * index) % 1 for index in range(count)]
    colours = [colorsys.hsv_to_rgb(hue, 0.75 if index % 2 else 0.95, 0.95) for index, hue in enumerate(hues)]
    return np.rint(np.array(colours, dtype=np.float64).reshape(-1, 3) * 255).astype(np.uint8)


def check_image(image: NDArray[np.uint8]) -> None:
    """Raises InvalidInput unless the image is (H, W, 3) uint8 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidInput(
            "image", f"an array of {image.dtype} {image.shape}", hint="send a (height, width, 3) array of uint8, RGB"
        )
