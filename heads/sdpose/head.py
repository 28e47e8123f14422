"""The heat-map head: a feature map to one map a keypoint, by the published layers and key names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HeatmapHead(nn.Module):
    """Twice the feature's size, one map a keypoint; no activation at the end.

    Instance norms have neither weights nor running statistics, so each sample is always normalised by itself.
    Source: SDPose's models/HeatmapHead.py over its fork of MMPose (heads/heatmap_heads/heatmap_head.py).
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.deconv_layers = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False),
            nn.InstanceNorm2d(channels),
            nn.SiLU(),
        )
        self.conv_layers = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels), nn.SiLU())
        self.final_layer = nn.Conv2d(channels, keypoints, 1)

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, C, h, w) float. Returns (B, K, 2h, 2w) in the same type."""
        maps: Tensor = self.final_layer(self.conv_layers(self.deconv_layers(features)))
        return maps

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> HeatmapHead:
        """Weights as training begins: normal with deviation 0.001, biases 0. Returns itself."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.normal_(0.0, 0.001, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        return self
