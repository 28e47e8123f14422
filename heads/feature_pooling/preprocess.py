"""Images to squares of the network's size, with Pillow: other libraries' resampling gives other values.

Source: diffssl's guided_diffusion/image_datasets.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backbones.errors import InvalidInput
from heads.images import resample

Fit = Literal["crop", "pad", "squash"]

# The shorter side of an image is enlarged to the network's size and the longer one grows with it: past this ratio that
# would only cost memory, since all but the middle square is cut off.
_MOST_ASPECT = 64

_SMALLEST_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class CropDraw:
    """What is random in a training crop, in pixels. shorter_side: length after scaling. y, x: origin of the square."""

    shorter_side: int
    y: int
    x: int
    flip: bool


def fit_image(image: NDArray[np.uint8], size: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """A square of the image: its middle ("crop"), all, between grey bars ("pad"), or all, distorted ("squash").

    image: (H, W, 3) uint8 RGB. Returns (size, size, 3) uint8.
    Raises InvalidInput for another shape or number type, and for an unknown `fit`.
    """
    check_image(image)
    if fit == "crop":
        return evaluation_crop(image, size)
    if fit == "squash":
        return np.asarray(resample(Image.fromarray(image), (size, size), Image.Resampling.BICUBIC))
    if fit == "pad":
        return _pad(image, size)
    raise InvalidInput("fit", f"{fit!r}", hint=f"send one of {', '.join(get_args(Fit))}")


def evaluation_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square, the shorter side scaled to `size`: the published evaluation crop.

    image: (H, W, 3) uint8. Returns (size, size, 3) uint8.
    """
    scaled = _scale(image, size)
    height, width = scaled.shape[:2]
    y, x = (height - size) // 2, (width - size) // 2
    return scaled[y : y + size, x : x + size]


def training_crop(image: NDArray[np.uint8], size: int, draw: CropDraw) -> NDArray[np.uint8]:
    """The square of `draw`, from the image scaled to its shorter side; mirrored after the crop.

    image: (H, W, 3) uint8.
    Returns (size, size, 3) uint8.
    Raises InvalidInput if the square leaves the scaled image.
    """
    scaled = _scale(image, draw.shorter_side)
    height, width = scaled.shape[:2]
    if not (0 <= draw.y <= height - size and 0 <= draw.x <= width - size):
        raise InvalidInput("draw", f"a square of {size} at ({draw.y}, {draw.x}) leaves an image of {height} x {width}")
    square = scaled[draw.y : draw.y + size, draw.x : draw.x + size]
    return square[:, ::-1] if draw.flip else square


def draw_training_crop(image: NDArray[np.uint8], size: int, generator: np.random.Generator) -> CropDraw:
    """Draw the published augmentation: shorter side from size to size / 0.8, then the origin, then a mirror.

    image: (H, W, 3) uint8; only its shape counts.
    """
    shorter_side = int(generator.integers(size, int(np.ceil(size / _SMALLEST_SHARE)), endpoint=True))
    height, width = _scale_shape(image.shape[0], image.shape[1], shorter_side)
    y = int(generator.integers(0, height - size, endpoint=True))
    x = int(generator.integers(0, width - size, endpoint=True))
    return CropDraw(shorter_side, y, x, bool(generator.random() < 0.5))


def pixel_values(image: NDArray[np.uint8]) -> Tensor:
    """The network's input: (H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    scaled = image.astype(np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def check_image(image: NDArray[np.uint8]) -> None:
    """Raises InvalidInput unless the image is (H, W, 3) uint8 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidInput(
            "images", f"an array of {image.dtype} {image.shape}", hint="send (height, width, 3) arrays of uint8, RGB"
        )


def _scale(image: NDArray[np.uint8], shorter_side: int) -> NDArray[np.uint8]:
    """The image at the given shorter side: halved by averaging while it is twice as large, then bicubic.

    image: (H, W, 3) uint8. Returns (h, w, 3) uint8.
    """
    picture = Image.fromarray(_trim(image))
    while min(picture.size) >= 2 * shorter_side:
        picture = resample(picture, (picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = shorter_side / min(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    return np.asarray(resample(picture, size, Image.Resampling.BICUBIC))


def _scale_shape(height: int, width: int, shorter_side: int) -> tuple[int, int]:
    longest = _MOST_ASPECT * min(height, width)
    height, width = min(height, longest), min(width, longest)
    while min(height, width) >= 2 * shorter_side:
        height, width = height // 2, width // 2
    scale = shorter_side / min(height, width)
    return round(height * scale), round(width * scale)


def _trim(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of an image that is too long and thin: (H, W, 3) uint8 -> the same, or a shorter one."""
    height, width = image.shape[:2]
    longest = _MOST_ASPECT * min(height, width)
    y, x = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[y : y + longest, x : x + longest]


def _pad(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = size / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = np.asarray(resample(Image.fromarray(image), inner, Image.Resampling.BICUBIC))
    # Grey is the value nearest to zero in the network's input.
    square = np.full((size, size, 3), 127, dtype=np.uint8)
    y, x = (size - inner[1]) // 2, (size - inner[0]) // 2
    square[y : y + inner[1], x : x + inner[0]] = scaled
    return square
