"""A small real backbone on the direct engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.engine import DirectEngine
from backbones.loading.diffusers_folder import load_diffusers_folder

WEIGHTS = Path(__file__).parents[2] / "conformance/fixtures/diffusion_classifier/weights"


@pytest.fixture(scope="package")
def engine() -> DirectEngine:
    return DirectEngine(load_diffusers_folder(WEIGHTS / "sd2"))
