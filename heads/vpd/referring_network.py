"""VPD's mask predictor, under the original's parameter names.

Source: `refer/lib/mask_predictor.py` and `refer/models_refer/model.py` of wl-zhao/VPD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.errors import CheckpointError
from heads.images import resize_maps
from heads.vpd.features import TextAdapter


class SimpleDecoding(nn.Module):
    """Coarse to fine: resize, concatenate, two convolutions, three times; all resizes align corners."""

    def __init__(self, channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        fine, middle, coarse, coarsest = channels
        before = coarsest
        for name, width in (("4", coarse), ("3", middle), ("2", fine)):
            setattr(self, f"conv1_{name}", nn.Conv2d(before + width, hidden, 3, padding=1, bias=False))
            setattr(self, f"bn1_{name}", nn.BatchNorm2d(hidden))
            setattr(self, f"conv2_{name}", nn.Conv2d(hidden, hidden, 3, padding=1, bias=False))
            setattr(self, f"bn2_{name}", nn.BatchNorm2d(hidden))
            before = hidden
        self.conv1_1 = nn.Conv2d(hidden, 2, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """features: four of (B, C, h, w) float32, finest first. Returns logits (B, 2, h0, w0): rest, object."""
        *finer, hidden = features
        for name, feature in zip(("4", "3", "2"), reversed(finer), strict=True):
            hidden = resize_maps(hidden, (feature.shape[-2], feature.shape[-1]), align_corners=True)
            hidden = torch.cat([hidden, feature], dim=1)
            for step in ("1", "2"):
                convolved = getattr(self, f"conv{step}_{name}")(hidden)
                hidden = functional.relu(getattr(self, f"bn{step}_{name}")(convolved))
        logits: Tensor = self.conv1_1(hidden)
        return logits


class ReferringNetwork(nn.Module):
    """The text adapter and the mask predictor."""

    def __init__(self, channels: Sequence[int], *, hidden: int, text_width: int) -> None:
        super().__init__()
        self.text_adapter = TextAdapter(text_width)
        self.gamma = nn.Parameter(torch.full((text_width,), 1e-4))
        self.classifier = SimpleDecoding(channels, hidden)

    def context(self, text: Tensor) -> Tensor:
        """The U-Net's text context: an expression's hidden states (T, D), adapted."""
        adapted: Tensor = self.text_adapter(text.float(), self.gamma)
        return adapted

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """features: four of (B, C, h, w) float32, finest first. Returns logits (B, 2, h0, w0)."""
        logits: Tensor = self.classifier(features)
        return logits


def referring_network(shapes: Mapping[str, Tensor], source: object) -> ReferringNetwork:
    """The network whose weights these are: original name -> tensor of any shape; values are not read.

    Raises CheckpointError if a tensor is missing that determines a size.
    """
    keys = [f"classifier.conv1_{level}.weight" for level in (4, 3, 2)]
    missing = [key for key in (*keys, "gamma") if key not in shapes]
    if missing:
        raise CheckpointError(source, "this is no VPD referring network", missing=missing)
    first, second, third = (shapes[key].shape for key in keys)
    hidden = first[0]
    # The first convolution takes the two coarsest maps together; only their sum is known.
    with torch.device("meta"):
        return ReferringNetwork(
            (third[1] - hidden, second[1] - hidden, first[1], 0), hidden=hidden, text_width=len(shapes["gamma"])
        )


def token_length(network: ReferringNetwork, backbone_channels: Sequence[int]) -> int:
    """How many tokens a referring network was trained with: the channels of its input beyond the U-Net's.

    backbone_channels: of the four feature maps, finest first.
    """
    convolution: nn.Conv2d = network.classifier.conv1_3  # type: ignore[assignment]
    return convolution.in_channels - convolution.out_channels - backbone_channels[1]
