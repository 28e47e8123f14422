"""The sub-blocks of a U-Net whose output a row can capture, by diffusers name, in the order in which they run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import nn

from backbones.rows import Capture


def sub_block_names(unet: nn.Module) -> tuple[str, ...]:
    """Names of all feature maps of a stock `UNet2DConditionModel` or `UNet2DModel`, as the network computes them.

    Residual and attention sub-blocks, down- and upsamplers, the middle and its parts, and each level as a whole (whose
    output is that of its last sub-block).
    """
    network: Any = unet
    names = ["conv_in"]
    for index, level in enumerate(network.down_blocks):
        names += _level_names(f"down_blocks.{index}", level)
    if network.mid_block is not None:
        names += _middle_names(network.mid_block)
    for index, level in enumerate(network.up_blocks):
        names += _level_names(f"up_blocks.{index}", level)
    return tuple(names)


@lru_cache(maxsize=4096)
def pass_depth(capture: Capture, sub_blocks: tuple[str, ...]) -> int:
    """How far a pass must go for a capture: the number of sub-blocks that it needs. Some are parts of others.

    sub_blocks: the network's, in order. A module outside of them counts as the whole network.
    """
    if capture.output or capture.noise_pred:
        return len(sub_blocks)
    names = (*capture.features, *capture.attention_maps, *capture.keys_values)
    return max((_place(name, sub_blocks) for name in names), default=0)


def _place(name: str, sub_blocks: tuple[str, ...]) -> int:
    """The number of the sub-block that contains a module, from 1."""
    while name:
        if name in sub_blocks:
            return sub_blocks.index(name) + 1
        name = name.rpartition(".")[0]
    return len(sub_blocks)


def _level_names(prefix: str, level: Any) -> list[str]:
    names = []
    for index in range(len(level.resnets)):
        names.append(f"{prefix}.resnets.{index}")
        # Levels without attention have no such list, or one that holds None in stock networks of other families.
        if index < len(getattr(level, "attentions", ())) and level.attentions[index] is not None:
            names.append(f"{prefix}.attentions.{index}")
    for kind in ("downsamplers", "upsamplers"):
        names += [f"{prefix}.{kind}.{index}" for index in range(len(getattr(level, kind, None) or ()))]
    return [*names, prefix]


def _middle_names(middle: Any) -> list[str]:
    names = ["mid_block.resnets.0"]
    for index in range(len(middle.resnets) - 1):
        if index < len(getattr(middle, "attentions", ())) and middle.attentions[index] is not None:
            names.append(f"mid_block.attentions.{index}")
        names.append(f"mid_block.resnets.{index + 1}")
    return [*names, "mid_block"]
