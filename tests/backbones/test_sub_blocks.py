"""Names of the places whose output can be captured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.guided_diffusion import GuidedDiffusionFlags, build_network
from backbones.rows import Capture
from backbones.sub_blocks import pass_depth, sub_block_names

FOLDER = Path(__file__).parents[1] / "conformance/fixtures/diffusion_classifier/weights/sd1"


@pytest.mark.parametrize("kind", ["stable diffusion", "pixels"])
def test_names_come_in_the_order_of_computation(kind: str) -> None:
    flags = GuidedDiffusionFlags(16, 32, (1, 1), 2, (2,), 16)
    if kind == "pixels":
        network = build_network(flags, torch.device("cpu"))
        inputs = {"sample": torch.zeros(1, 3, 16, 16)}
    else:
        network = load_diffusers_folder(FOLDER).variants[""].unet
        inputs = {"sample": torch.zeros(1, 4, 8, 8), "encoder_hidden_states": torch.zeros(1, 77, 32)}
    names, seen = sub_block_names(network), []
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        network(timestep=3, **inputs)
    assert tuple(seen) == names
    assert len(set(names)) == len(names)


def test_a_pass_is_as_deep_as_the_last_place_that_is_captured() -> None:
    blocks = (
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.0",
        "mid_block",
        "up_blocks.0.attentions.0",
        "up_blocks.0",
    )
    maps = "up_blocks.0.attentions.0.transformer_blocks.0.attn2"
    captures = {
        Capture(): 0,
        Capture(features=("conv_in",)): 1,
        Capture(features=("mid_block", "conv_in")): 4,
        Capture(features=("mid_block",), attention_maps=(maps,)): 5,
        Capture(keys_values=("down_blocks.0.resnets.0.anything",)): 2,
        Capture(features=("conv_out",)): 6,
        Capture(noise_pred=True): 6,
    }
    assert {capture: pass_depth(capture, blocks) for capture in captures} == captures
