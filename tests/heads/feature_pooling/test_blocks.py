"""Numbers and diffusers names of the same blocks."""

from __future__ import annotations

import pytest
import torch

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from backbones.loading.guided_diffusion import PUBLISHED_256, PUBLISHED_512, GuidedDiffusionFlags, build_network
from backbones.sub_blocks import sub_block_names
from heads.feature_pooling.blocks import default_blocks, list_numbered_blocks, resolve_blocks
from heads.feature_pooling.published import block_shapes

# As `Description.sub_blocks` lists the places of Stable Diffusion's decoder level with and without attention.
LEVEL = tuple(f"up_blocks.1.{kind}.{at}" for at in range(3) for kind in ("resnets", "attentions"))
SUB_BLOCKS = (
    "conv_in", "down_blocks.0.resnets.0", "down_blocks.0.resnets.1", "down_blocks.0.downsamplers.0", "down_blocks.0",
    "down_blocks.1.resnets.0", "down_blocks.1.attentions.0", "down_blocks.1",
    "mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1", "mid_block",
    "up_blocks.0.resnets.0", "up_blocks.0.resnets.1", "up_blocks.0.upsamplers.0", "up_blocks.0",
    *LEVEL, "up_blocks.1",
)  # fmt: skip


def test_a_number_stands_for_a_residual_block_with_what_follows_it() -> None:
    assert list_numbered_blocks(SUB_BLOCKS) == (
        "conv_in", "down_blocks.0.resnets.0", "down_blocks.0.resnets.1", "down_blocks.0.downsamplers.0",
        "down_blocks.1.attentions.0", "mid_block", "up_blocks.0.resnets.0", "up_blocks.0.upsamplers.0",
        "up_blocks.1.attentions.0", "up_blocks.1.attentions.1", "up_blocks.1.attentions.2",
    )  # fmt: skip


@pytest.mark.parametrize(("flags", "count", "middle"), [(PUBLISHED_256, 37, 19), (PUBLISHED_512, 43, 22)])
def test_published_networks_have_the_published_numbers(flags: GuidedDiffusionFlags, count: int, middle: int) -> None:
    sub_blocks = sub_block_names(build_network(flags, torch.device("meta")))
    numbered = list_numbered_blocks(sub_blocks)
    assert len(numbered) == count == len(block_shapes(flags))
    assert numbered[middle - 1] == "mid_block"
    if flags is PUBLISHED_256:
        assert default_blocks(sub_blocks) == (numbered[18], numbered[23])


def test_repeated_blocks_and_another_order_change_nothing() -> None:
    names = resolve_blocks(["mid_block", 1, "6", 6], SUB_BLOCKS)
    assert names == ("conv_in", "mid_block")


def test_places_without_a_number_go_by_name(engine: DirectEngine) -> None:
    name = "up_blocks.0.resnets.1"
    assert name not in list_numbered_blocks(engine.backbone.sub_blocks)
    assert resolve_blocks([name, "up_blocks.0"], engine.backbone.sub_blocks) == (name, "up_blocks.0")


@pytest.mark.parametrize("block", [0, -1, 12, "12", "middle", "mid_block.", "", "unet.mid_block"])
def test_unknown_blocks_are_refused(block: int | str) -> None:
    with pytest.raises(InvalidInput, match="block"):
        resolve_blocks([block], SUB_BLOCKS)
