"""A small network with the second input convolution, in the published layout, on the direct engine; and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from backbones.engine import DirectEngine
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion
from heads.diffews.bank import VARIANT
from heads.diffews.checkpoint import fresh_variant

WEIGHTS = Path(__file__).parents[2] / "conformance/fixtures/diffusion_classifier/weights"


@pytest.fixture(scope="package")
def backbone() -> StableDiffusion:
    """Of 64 x 64 pixels; its few-shot variant is the start that training has."""
    model = load_diffusers_folder(WEIGHTS / "sd2")
    model.add_variant(VARIANT, fresh_variant(model))
    return model


@pytest.fixture(scope="package")
def engine(backbone: StableDiffusion) -> DirectEngine:
    return DirectEngine(backbone)


def picture(seed: int, height: int = 50, width: int = 70) -> NDArray[np.uint8]:
    """A noisy picture with a bright disc."""
    pixels = np.random.default_rng(seed).integers(0, 90, (height, width, 3), dtype=np.uint8)
    pixels[disc(height, width)] = 240
    return pixels


def disc(height: int = 50, width: int = 70) -> NDArray[np.bool_]:
    """Its mask."""
    rows, columns = np.mgrid[:height, :width]
    mask: NDArray[np.bool_] = (rows - height // 2) ** 2 + (columns - width // 3) ** 2 < 12**2
    return mask
