"""From the decoded picture of a mask to the mask: 8-bit levels, their mean, and the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of a mask.

    kind: "relative" to the picture's largest value, which never gives an empty mask, or "absolute". value: in 0..1;
    pixels above it are in the mask.
    """

    kind: Literal["relative", "absolute"] = "relative"
    value: float = 0.25

    def __post_init__(self) -> None:
        if self.kind not in ("relative", "absolute"):
            raise InvalidInput("threshold", f"{self.kind!r}", hint='use "relative" or "absolute"')
        if not 0 < self.value < 1:
            raise InvalidInput("threshold", f"{self.value}", hint="send a number between 0 and 1")


PUBLISHED = Threshold("relative", 0.25)
"""That of the published scripts; the paper's best absolute threshold is 0.15."""


def levels(decoded: Tensor) -> Tensor:
    """The decoded picture in 8 bits, as the original saves it: clipped and truncated, not rounded.

    decoded: (..., 3, H, W) float, about [-1, 1]. Returns uint8 of that shape.
    Source: `diffews/marigold_pipeline_rgb_latent_noise.py`.
    """
    return ((decoded.float().clip(-1, 1) * 0.5 + 0.5) * 255).to(torch.uint8)


def mean_map(rgb: Tensor) -> Tensor:
    """Mean over the colours, (H, W) float32 in 0..1.

    rgb: (3, H, W) uint8. The sum is divided by 3 in float32, which decides the pixels that lie on the threshold.
    Source: `evaluation_util/main_oss.py`.
    """
    return (rgb.float() / 255).mean(dim=0)


def cut_at(rgb: Tensor, threshold: Threshold) -> float:
    """The level, 0..1, above which a pixel is in the mask.

    rgb: (3, H, W) uint8. A relative threshold is a share of the largest value of all colours and pixels.
    """
    if threshold.kind == "absolute":
        return threshold.value
    return float(threshold.value * (rgb.float() / 255).max())


def cut(rgb: Tensor, threshold: Threshold) -> Tensor:
    """The mask, (H, W) bool, at the picture's own size.

    rgb: (3, H, W) uint8.
    """
    return mean_map(rgb) > cut_at(rgb, threshold)
