"""Names of the places whose output can be captured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.guided_diffusion import GuidedDiffusionFlags, build_network
from backbones.sub_blocks import sub_block_names

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
