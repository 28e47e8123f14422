"""VPD's segmentation network: mmsegmentation's own FPN neck and FPN head on our features.

Source: `segmentation/models/vpd_seg.py` and `segmentation/configs/fpn_vpd_sd1-5_512x512_gpu8x2.py` of wl-zhao/VPD.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from backbones.errors import CheckpointError
from heads.vpd.features import TextAdapter


@cache
def mmseg_parts() -> tuple[Any, Any]:
    """mmsegmentation's FPN and FPNHead, imported when they are needed: it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmseg.models.decode_heads.fpn_head import FPNHead
        from mmseg.models.necks.fpn import FPN
    return FPN, FPNHead


class SegmentationNetwork(nn.Module):
    """Text adapter, class embeddings, neck and decode head."""

    def __init__(
        self, channels: Sequence[int], *, neck_channels: int, head_channels: int, classes: int, text_width: int
    ) -> None:
        super().__init__()
        neck, head = mmseg_parts()
        self.text_adapter = TextAdapter(text_width)
        self.gamma = nn.Parameter(torch.full((text_width,), 1e-4))
        self.class_embeddings: Tensor
        self.register_buffer("class_embeddings", torch.zeros(classes, text_width))
        self.neck: Any = neck(list(channels), neck_channels, num_outs=len(channels))
        self.decode_head: Any = head(
            feature_strides=[4, 8, 16, 32],  # nominal: only their ratios count
            in_channels=[neck_channels] * len(channels),
            in_index=list(range(len(channels))),
            channels=head_channels,
            dropout_ratio=0.1,
            num_classes=classes,
            norm_cfg={"type": "BN"},
            align_corners=False,
            # Unused: fitting computes its own loss. The default one warns about labels to ignore.
            loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True},
        )

    def contexts(self) -> Tensor:
        """The U-Net's text context: (classes, D), adapted, one token a class for every image."""
        adapted: Tensor = self.text_adapter(self.class_embeddings, self.gamma)
        return adapted

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """features: four of (B, C, h, w) float32, finest first. Returns logits (B, classes, h0, w0)."""
        logits: Tensor = self.decode_head(self.neck(list(features)))
        return logits


def segmentation_network(shapes: Mapping[str, Tensor], source: object) -> SegmentationNetwork:
    """The network whose weights these are: original name -> tensor of any shape; values are not read.

    Raises CheckpointError if a tensor is missing that determines a size.
    """
    lateral = [f"neck.lateral_convs.{level}.conv.weight" for level in range(4)]
    missing = [key for key in (*lateral, "decode_head.conv_seg.weight", "class_embeddings") if key not in shapes]
    if missing:
        raise CheckpointError(source, "this is no VPD segmentation network", missing=missing)
    classes, head_channels = shapes["decode_head.conv_seg.weight"].shape[:2]
    with torch.device("meta"):
        return SegmentationNetwork(
            [shapes[key].shape[1] for key in lateral],
            neck_channels=shapes[lateral[0]].shape[0],
            head_channels=head_channels,
            classes=classes,
            text_width=shapes["class_embeddings"].shape[1],
        )
