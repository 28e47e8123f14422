"""What every backbone tells heads and engines about itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backbones.backbone import Backbone, Description
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.dit import load_dit_folder
from backbones.loading.guided_diffusion import GuidedDiffusionFlags, build_network
from backbones.pixel_diffusion import PixelDiffusion
from tests.backbones.small_models import WEIGHTS, save_small_dit

DESCRIPTION = Description(
    name="small",
    revision="0",
    image_size=64,
    latent_channels=4,
    downscale=8,
    scaling_factor=0.18215,
    prediction_type="epsilon",
    alphas_cumprod=torch.ones(1),
    max_tokens=77,
    num_class_labels=0,
    variants=(),
    dtype=torch.float32,
    device=torch.device("cpu"),
)


@pytest.mark.parametrize(
    ("max_tokens", "labels", "expected"), [(77, 0, False), (77, 10, False), (0, 0, False), (0, 10, True)]
)
def test_a_class_conditional_network_knows_classes_and_no_text(max_tokens: int, labels: int, expected: bool) -> None:
    description = replace(DESCRIPTION, max_tokens=max_tokens, num_class_labels=labels)
    assert description.class_conditional == expected


def test_every_kind_of_backbone_encodes_and_decodes_as_it_describes_itself(tmp_path: Path) -> None:
    save_small_dit(tmp_path, names={"0": "cat"})
    flags = GuidedDiffusionFlags(16, 32, (1, 2), 1, (2,), 32, use_scale_shift_norm=True)
    backbones: list[Backbone] = [
        load_diffusers_folder(WEIGHTS / "sd1"),
        load_dit_folder(tmp_path),
        PixelDiffusion(name="pixels", unet=build_network(flags, torch.device("cpu")), revision="0"),
    ]
    for backbone in backbones:
        description = backbone.description
        side = 16 // description.downscale
        (latents,) = backbone.encode([torch.zeros(3, 16, 16)])
        assert latents.shape == (description.latent_channels, side, side)
        assert backbone.decode([latents])[0].shape == (3, 16, 16)


def test_a_description_needs_no_network_library() -> None:
    program = "import sys, backbones.backbone; print({'diffusers', 'transformers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
