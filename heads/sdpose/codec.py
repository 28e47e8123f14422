"""Heat maps to points and back: UDP encoding, and the decoding with DARK's sub-pixel step that SDPose uses.

Source: MMPose's codecs/udp_heatmap.py, codecs/utils/refinement.py and gaussian_heatmap.py; arXiv:1911.07524 (UDP),
arXiv:1910.06278 (DARK). Sizes are (width, height), as the original has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

BLUR = 11
SIGMA = 6.0
_LOWEST, _HIGHEST = 1e-3, 50.0
# Around a peak: itself, then right, below, below right, above left, left, above, as (dx, dy).
_AROUND = ((0, 0), (1, 0), (0, 1), (1, 1), (-1, -1), (-1, 0), (0, -1))
_MAPS_AT_ONCE = 512


def decode(
    heatmaps: Tensor, size: tuple[int, int], blur: int = BLUR
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points and scores of heat maps.

    heatmaps: (..., H, W) float on any device. size: (width, height) of the crop in pixels. blur: kernel size, odd.
    Returns points (..., 2) float64 x, y in pixels of the crop, and scores (...) float32, each map's maximum before
    blurring: it may pass 1 or be negative. The step from the highest pixel is not bounded: on flat maps it can be huge.
    A map without any value above 0 gets no step; its point is (-1, -1) in heat-map pixels. This is our own rule: the
    original reads memory outside the map there and can give NaN.
    """
    shape = heatmaps.shape[:-2]
    flat = heatmaps.reshape(-1, *heatmaps.shape[-2:])
    parts = [_decode_maps(part.float(), blur) for part in torch.split(flat, _MAPS_AT_ONCE)]
    points = np.concatenate([part[0] for part in parts]) if parts else np.zeros((0, 2))
    scores = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, dtype=np.float32)
    height, width = heatmaps.shape[-2:]
    # As in the original: to the whole size, although encoding uses the size minus one.
    scaled = points / [width - 1, height - 1] * size
    return scaled.reshape(*shape, 2), scores.reshape(shape)


@torch.no_grad()
def _decode_maps(maps: Tensor, blur: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points (N, 2) float64 in heat-map pixels and scores (N,) float32 of maps (N, H, W) float32."""
    height, width = maps.shape[1:]
    scores, places = maps.flatten(1).max(dim=1)
    positive = scores > 0
    x, y = places % width, places // width
    blurred = _blur(maps, blur)
    peak = blurred.flatten(1).amax(dim=1)
    # As in the original: if a single pixel is above 0, the blurred maximum may be negative, which changes the map's
    # sign.
    level = scores / torch.where(peak == 0, torch.ones_like(peak), peak)
    # Beyond the border the log map repeats its border values.
    rows = torch.stack([(y + dy).clamp(0, height - 1) for _, dy in _AROUND], dim=1)
    columns = torch.stack([(x + dx).clamp(0, width - 1) for dx, _ in _AROUND], dim=1)
    around = blurred.flatten(1).gather(1, rows * width + columns)
    logs = (around * level[:, None]).clamp(_LOWEST, _HIGHEST).log().cpu()
    here, right, below, below_right, above_left, left, above = logs.unbind(dim=1)
    dx, dy = (right - left) / 2, (below - above) / 2
    dxx, dyy = right - 2 * here + left, below - 2 * here + above
    dxy = (below_right - right - below + 2 * here - left - above + above_left) / 2
    step = _newton_step(dx, dy, dxx, dyy, dxy)
    located = torch.stack([x, y], dim=1).cpu()
    refined = (located.double() - step).float().double()
    points = torch.where(positive.cpu()[:, None], refined, torch.full_like(refined, -1.0))
    return points.numpy(), scores.cpu().numpy()


def _newton_step(dx: Tensor, dy: Tensor, dxx: Tensor, dyy: Tensor, dxy: Tensor) -> Tensor:
    """inv(Hessian + eps I) @ gradient, (N, 2) float64, of derivatives (N,) float32."""
    epsilon = torch.finfo(torch.float32).eps
    a, b, c = dxx.double() + epsilon, dxy.double(), dyy.double() + epsilon
    determinant = a * c - b * b
    gx, gy = dx.double(), dy.double()
    step = torch.stack([(c * gx - b * gy) / determinant, (a * gy - b * gx) / determinant], dim=1)
    # A determinant of exactly zero needs a plateau whose gradient is zero as well: no step.
    return torch.where(determinant[:, None] != 0, step, torch.zeros_like(step))


def _blur(maps: Tensor, size: int) -> Tensor:
    """Gaussian blur of (N, H, W) float32 by OpenCV's kernel of that size, with zeros beyond the border."""
    kernel = torch.from_numpy(_kernel(size)).to(maps)
    half = size // 2
    wide = functional.conv2d(maps[:, None], kernel.view(1, 1, 1, -1), padding=(0, half))
    return functional.conv2d(wide, kernel.view(1, 1, -1, 1), padding=(half, 0))[:, 0]


@cache
def _kernel(size: int) -> NDArray[np.float32]:
    # Sigma 0 lets OpenCV choose it by the size: 2.0 for 11.
    return np.asarray(cv2.getGaussianKernel(size, 0), dtype=np.float32)[:, 0]


def merge_flipped(heatmaps: Tensor, of_mirrored: Tensor, flip_indices: Sequence[int]) -> Tensor:
    """The flip test's mean of the maps and of those of the mirrored crop, which are mirrored back without a shift.

    heatmaps, of_mirrored: (..., K, H, W) float. flip_indices: (K,), which point each becomes in a mirror.
    """
    index = torch.tensor(list(flip_indices), device=of_mirrored.device)
    return (heatmaps + of_mirrored.flip(-1).index_select(-3, index)) * 0.5


def encode(
    keypoints: Tensor, visible: Tensor, size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float = SIGMA
) -> tuple[Tensor, Tensor]:
    """Training targets: a Gaussian with peak 1 around each point, cut off three sigmas from its pixel.

    keypoints: (..., K, 2) float, pixels of a crop of `size`. visible: (..., K) float, below 0.5 where unlabelled.
    size, heatmap_size: (width, height). sigma: heat-map pixels.
    Returns heat maps (..., K, H, W) float32 and weights (..., K) float32: `visible`, but 0 if the Gaussian's square
    lies wholly outside the map. A point of weight 0 has an empty map.
    """
    width, height = heatmap_size
    per_pixel = torch.tensor([(size[0] - 1) / (width - 1), (size[1] - 1) / (height - 1)], device=keypoints.device)
    located = keypoints.float() / per_pixel
    # As int() does: towards zero, which differs from rounding for negative coordinates.
    middle = (located + 0.5).trunc()
    radius = sigma * 3
    low, high = middle - radius, middle + radius + 1
    limits = torch.tensor([width, height], device=keypoints.device)
    inside = ((low < limits) & (high >= 0)).all(dim=-1)
    weights = torch.where(inside, visible.float(), torch.zeros_like(visible, dtype=torch.float32))
    drawn = inside & (visible >= 0.5)
    x = torch.arange(width, device=keypoints.device, dtype=torch.float32)
    y = torch.arange(height, device=keypoints.device, dtype=torch.float32)
    across = torch.exp(-((x - located[..., :1]) ** 2) / (2 * sigma**2))
    across = across * ((x - middle[..., :1]).abs() <= radius)
    down = torch.exp(-((y - located[..., 1:]) ** 2) / (2 * sigma**2)) * ((y - middle[..., 1:]).abs() <= radius)
    maps = down[..., :, None] * across[..., None, :]
    return maps * drawn[..., None, None], weights
