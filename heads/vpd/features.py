"""VPD's features from one U-Net pass: four feature maps and averaged cross-attention maps, at timestep 1 without noise.

Source: VPD (arXiv:2303.02153), `vpd/models.py` of wl-zhao/VPD. Latents are the VAE's mean, not scaled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backbones.backbone import Description
from backbones.errors import InvalidInput
from backbones.rows import Capture, Captures, UNetRow

TIMESTEP = 1
LEVELS = 4

_MAPS = ".transformer_blocks.0.attn2"


@dataclass(frozen=True, slots=True)
class FeatureLayers:
    """The layers that VPD reads, by diffusers names, finest level first.

    features: one a level: the last sub-block of the finest level, of the others the second.
    maps: cross-attention layers of levels 1 and 2, both ways down and up; the finest level and the middle are left.
    stride: pixels of one cell of the coarsest level.
    """

    features: tuple[str, ...]
    maps: tuple[tuple[str, ...], tuple[str, ...]]
    stride: int

    def capture(self, *, maps: bool) -> Capture:
        """The capture of a row, with or without attention maps."""
        names = tuple(name for level in self.maps for name in level) if maps else ()
        return Capture(features=self.features, attention_maps=names)


def find_feature_layers(backbone: Description) -> FeatureLayers:
    """The layers that VPD reads, in any U-Net with four levels.

    Raises InvalidInput for networks of other depth, or that do not attend to text on the two middle levels.
    """
    names = set(backbone.sub_blocks)
    levels = sum(re.fullmatch(r"up_blocks\.\d+", name) is not None for name in names)
    if levels != LEVELS:
        raise InvalidInput(
            "backbone", f"{backbone.name!r} has {levels} levels; VPD reads four", hint="use an SD 1.x or 2.x backbone"
        )
    features = []
    for level in range(LEVELS):
        block = f"up_blocks.{LEVELS - 1 - level}"
        last = sum(name.startswith(f"{block}.resnets.") for name in names) - 1
        place = last if level == 0 else min(1, last)
        attention = f"{block}.attentions.{place}"
        features.append(attention if attention in names else f"{block}.resnets.{place}")
    maps = tuple(
        tuple(
            name + _MAPS
            for name in backbone.sub_blocks
            if re.fullmatch(rf"(down_blocks\.{level}|up_blocks\.{LEVELS - 1 - level})\.attentions\.\d+", name)
        )
        for level in (1, 2)
    )
    if not all(maps):
        raise InvalidInput(
            "backbone", f"{backbone.name!r} has attention to text on too few levels", hint="use another backbone"
        )
    return FeatureLayers(tuple(features), (maps[0], maps[1]), backbone.downscale * 2 ** (LEVELS - 1))


def make_row(latents: Tensor, context: Tensor, capture: Capture, variant: str) -> UNetRow:
    """One pass: latents (C, h, w), the VAE's mean as it is; context (T, D)."""
    return UNetRow(latents, TIMESTEP, context, capture, variant=variant)


def level_maps(captures: Captures, layers: FeatureLayers) -> tuple[Tensor, Tensor]:
    """Plain means of the layers of levels 1 and 2: (T, h, w) each, row-major, every token a channel."""
    first, second = (
        torch.stack([captures.attention_maps[name] for name in names]).mean(dim=0) for names in layers.maps
    )
    return first, second


def pyramid(captures: Captures, layers: FeatureLayers, *, maps: bool) -> list[Tensor]:
    """Features finest first, (C, h, w) float32 each; with `maps`, those of levels 1 and 2 follow the channels."""
    levels = [captures.features[name].float() for name in layers.features]
    if maps:
        for level, own in enumerate(level_maps(captures, layers), start=1):
            levels[level] = torch.cat([levels[level], own.float()])
    return levels


def stack_pyramids(pyramids: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Pyramids of equal sizes as one batch: (B, C, h, w) a level."""
    return [torch.stack(level) for level in zip(*pyramids, strict=True)]


class TextAdapter(nn.Module):
    """The residual layer between text and U-Net. Its gain `gamma` belongs to the network around it.

    Source: `TextAdapter` of `vpd/models.py`; GELU is the exact one.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, text: Tensor, gamma: Tensor) -> Tensor:
        """text: (T, D) float32; gamma: (D,). Returns text + gamma * fc(text), (T, D)."""
        adapted: Tensor = text + gamma * self.fc(text)
        return adapted
