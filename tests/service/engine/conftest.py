"""A small real backbone for the engine's tests: random weights in the original layout."""

from __future__ import annotations

import pytest

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion
from tests.backbones.small_models import WEIGHTS


@pytest.fixture(scope="package")
def small_backbone() -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / "sd2")
