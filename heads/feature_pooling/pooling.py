"""From feature maps to vectors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pool(features: Tensor, pool_size: int) -> Tensor:
    """Average over a pool_size x pool_size grid of windows, flattened channel-major: one vector an image.

    features: (..., C, h, w) any float type.
    Window i covers rows floor(i h / p) to ceil((i + 1) h / p): windows overlap where p does not divide h, and a map
    smaller than the grid is repeated.
    Returns (..., C * pool_size * pool_size) float32.
    Source: diffssl's ssl_diff/head.py (`AdaptiveAvgPool2d`, then flatten).
    """
    return functional.adaptive_avg_pool2d(features.float(), pool_size).flatten(-3)
