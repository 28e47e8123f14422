"""Crop a person's box for the network, and map points back to the image. There are two published methods.

`affine`: the box widened by a quarter and to the network's aspect, cut by the unbiased (UDP) matrix; training and all
published figures use it. `stretch`: the bare box stretched to the network's size, as the demo and the ComfyUI nodes do.
Sizes are (width, height) here, as the original has them.
Source: SDPose's utils/dataset_loader.py, gradio_app/SDPose_gradio.py, and MMPose's transforms (UDP: arXiv:1911.07524).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from heads.images import resample

Crop = Literal["affine", "stretch"]
Size = tuple[int, int]

PADDING = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class CropRegion:
    """The part of the image that a crop shows.

    origin: (2,) x and y of its top left corner, scale: (2,) its width and height, image pixels.
    """

    origin: NDArray[np.float64]
    scale: NDArray[np.float64]


def corners(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N, 4) x, y, width, height -> (N, 4) float32 x1, y1, x2, y2; the sum is made in double."""
    wide = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([wide[:, :2], wide[:, :2] + wide[:, 2:]], axis=1).astype(np.float32)


def centers_and_scales(
    xyxy: NDArray[np.float32], padding: float = PADDING
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres (N, 2) and padded widths and heights (N, 2), float32. xyxy: (N, 4) float32 corners, image pixels."""
    low, high = xyxy[:, :2], xyxy[:, 2:]
    return (low + high) * np.float32(0.5), (high - low) * np.float32(padding)


def fix_aspect(scales: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """The widths and heights, (N, 2) float32, with the shorter one enlarged to the aspect of `size` (width, height)."""
    aspect = np.float32(size[0] / size[1])
    width, height = scales[:, 0], scales[:, 1]
    wide = width > height * aspect
    return np.stack([np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=1)


def warp_matrix(
    center: NDArray[np.float32], scale: NDArray[np.float32], size: Size, rotation: float = 0.0
) -> NDArray[np.float32]:
    """The UDP matrix, (2, 3) float32, from image pixels to pixels of a crop of `size` (width, height).

    center, scale: (2,) float32, image pixels; the scale of the crop's aspect. rotation: degrees.
    """
    angle = np.deg2rad(rotation)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    (cx, cy), (width, height) = center.astype(np.float64), scale.astype(np.float64)
    sx, sy = (size[0] - 1) / width, (size[1] - 1) / height
    return np.array(
        [
            [cos * sx, -sin * sx, sx * (-cx * cos + cy * sin + width / 2)],
            [sin * sy, cos * sy, sy * (-cx * sin - cy * cos + height / 2)],
        ],
        dtype=np.float32,
    )


def affine_crop(
    image: NDArray[np.uint8], xyxy: NDArray[np.float32], size: Size
) -> tuple[NDArray[np.uint8], CropRegion]:
    """The crop of one box by the published evaluation, and the region it shows.

    image: (H, W, 3) uint8, channels in any order. xyxy: (4,) float32 corners, which may lie outside: that
    part is black. Returns (height, width, 3) uint8 of `size`.
    """
    center, padded = centers_and_scales(xyxy[None])
    scale = fix_aspect(padded, size)
    crop = cv2.warpAffine(image, warp_matrix(center[0], scale[0], size), size, flags=cv2.INTER_LINEAR)
    # As in the original: the inverse uses the whole size, the matrix the size minus one.
    origin = center[0].astype(np.float64) - scale[0].astype(np.float64) / 2
    return np.asarray(crop, dtype=np.uint8), CropRegion(origin, scale[0].astype(np.float64))


def stretch_crop(
    image: NDArray[np.uint8], xyxy: NDArray[np.float32] | None, size: Size
) -> tuple[NDArray[np.uint8], CropRegion]:
    """The crop of one box by the published demo: truncated, clipped and stretched.

    image: (H, W, 3) uint8, channels in any order. xyxy: (4,) corners; None, and a box outside the image, mean the whole
    image.
    Returns (height, width, 3) uint8 of `size`, and the region it shows.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (0, 0, width, height) if xyxy is None else (int(value) for value in xyxy)
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if x2 <= x1 or y2 <= y1:
        x1, y1, x2, y2 = 0, 0, width, height
    inner = Image.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2]))
    crop = np.asarray(resample(inner, size, Image.Resampling.BILINEAR))
    return crop, CropRegion(np.array([x1, y1], dtype=np.float64), np.array([x2 - x1, y2 - y1], dtype=np.float64))


def pixel_values(crop: NDArray[np.uint8]) -> Tensor:
    """The network's input for a crop: (H, W, 3) uint8 RGB -> (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float().div_(255).mul_(2).sub_(1)


def to_image(points: NDArray[np.float64], region: CropRegion, size: Size) -> NDArray[np.float64]:
    """Points (K, 2) in pixels of a crop of `size` (width, height) -> (K, 2) in pixels of the image."""
    return points / np.array(size, dtype=np.float64) * region.scale + region.origin
