"""Small backbones on the direct engine: a Stable Diffusion, and pixel-space networks with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.guided_diffusion import GuidedDiffusionFlags, build_network
from backbones.pixel_diffusion import PixelDiffusion

FIXTURES = Path(__file__).parents[2] / "conformance/fixtures"

# The published topology (18 input blocks, attention on the three coarsest levels) at a 32nd of its width.
SIX_LEVELS = GuidedDiffusionFlags(
    image_size=32,
    num_channels=32,
    channel_mult=(1, 1, 1, 1, 1, 1),
    num_res_blocks=2,
    attention_factors=(8, 16, 32),
    num_head_channels=16,
)


@pytest.fixture(scope="package")
def engine() -> DirectEngine:
    return DirectEngine(load_diffusers_folder(FIXTURES / "diffusion_classifier/weights/sd1"))


@pytest.fixture(scope="package")
def pixel_backbone() -> PixelDiffusion:
    torch.manual_seed(5)
    return PixelDiffusion(name="six levels", unet=build_network(SIX_LEVELS, torch.device("cpu")), revision="5")


@pytest.fixture(scope="package")
def images() -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((70, 90, 3), (64, 64, 3), (40, 33, 3))]
