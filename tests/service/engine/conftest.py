"""A small real backbone for the engine's tests: random weights in the original layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion

WEIGHTS = Path(__file__).parents[2] / "conformance/fixtures/diffusion_classifier/weights"


@pytest.fixture(scope="package")
def small_backbone() -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / "sd2")
