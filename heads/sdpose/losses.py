"""The published heat-map loss, and the approximate accuracy that training prints."""

from __future__ import annotations

import torch
from torch import Tensor


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error over all entries; points of weight 0 add nothing and still count in the mean.

    predicted, target: (B, K, H, W) float. weights: (B, K) float. Returns a scalar.
    Source: MMPose's KeypointMSELoss with use_target_weight, as SDPose's fork has it.
    """
    return (weights[..., None, None] * (predicted - target).square()).mean()


def pck(predicted: Tensor, target: Tensor, weights: Tensor, threshold: float = 0.05) -> tuple[Tensor, float]:
    """Share of points whose highest pixel is near the target's, in heat-map pixels.

    predicted, target: (B, K, H, W) float. weights: (B, K) float; only points above 0 count.
    Returns (K,) float32, -1 if no row has the point, and the mean over the others (0 if there is none).
    Distances in x are divided by the map's height and those in y by its width: exchanged, as the fork logs them.
    """
    height, width = predicted.shape[-2:]

    def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
        value, place = maps.flatten(2).max(dim=2)
        at = torch.stack([place % width, place // width], dim=2).float()
        return torch.where((value > 0)[..., None], at, torch.full_like(at, -1.0)), value

    difference = peaks(predicted)[0] - peaks(target)[0]
    distance = (difference / torch.tensor([height, width], device=predicted.device)).norm(dim=2)
    counted = weights > 0
    hits = ((distance < threshold) & counted).sum(dim=0).float()
    rows = counted.sum(dim=0)
    share = torch.where(rows > 0, hits / rows.clamp_min(1), torch.full_like(hits, -1.0))
    counted_shares = share[rows > 0]
    return share, float(counted_shares.mean()) if len(counted_shares) else 0.0
