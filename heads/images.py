"""Images to the sizes that networks take, and what they say back to the original pixels. Each with its inverse."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in a padded picture: scaled to `inner`, its top left at `top`, `left`.

    outer, inner, original: (height, width) in pixels.
    """

    outer: tuple[int, int]
    inner: tuple[int, int]
    original: tuple[int, int]
    top: int
    left: int

    def undo(self, maps: Tensor) -> Tensor:
        """Maps over the padded picture, (C, H, W) float of any resolution, as (C, h, w) over the original pixels."""
        height, width = maps.shape[-2:]
        if (height, width) != self.outer:
            maps = resize_maps(maps, self.outer)
        inside = maps[..., self.top : self.top + self.inner[0], self.left : self.left + self.inner[1]]
        return resize_maps(inside, self.original)

    def points_to_original(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 2) float as x, y in the padded picture -> the same in the original."""
        return (points - (self.left, self.top)) / self._scale()

    def points_from_original(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 2) float as x, y in the original -> the same in the padded picture."""
        return points * self._scale() + (self.left, self.top)

    def _scale(self) -> NDArray[np.float64]:
        return np.array([self.inner[1] / self.original[1], self.inner[0] / self.original[0]])


def letterbox(
    image: NDArray[np.uint8], size: tuple[int, int], *, fill: int = 127, centred: bool = False
) -> tuple[NDArray[np.uint8], Letterbox]:
    """The whole image in a picture of `size`, its shape kept, the rest `fill`: at the top left, or in the middle.

    image: (H, W, 3) uint8. size: (height, width). Returns (height, width, 3) uint8, and where the image lies in it.
    """
    check_image(image)
    inner = fitted(image.shape[:2], size)
    top, left = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2) if centred else (0, 0)
    picture = np.full((*size, 3), fill, dtype=np.uint8)
    picture[top : top + inner[0], left : left + inner[1]] = resize(image, inner)
    return picture, Letterbox(size, inner, (image.shape[0], image.shape[1]), top, left)


def fitted(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of a picture's shape (height, width, ...) that fits into `size`; 1 at least."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    return max(1, min(size[0], round(shape[0] * scale))), max(1, min(size[1], round(shape[1] * scale)))


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear with antialias, as Pillow does it: (H, W, 3) uint8 -> (height, width, 3) uint8.

    size: (height, width); the shape is not kept.
    """
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


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
    """What an encoder takes: (H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1], as 2 * (x / 255) - 1."""
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
