"""The conformance fixture's small whole-body network, alone and as a variant of a backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from backbones.engine import DirectEngine
from heads.sdpose.checkpoint import open_published
from heads.sdpose.estimation import PoseModel

PUBLISHED = Path(__file__).parents[2] / "conformance/fixtures/sdpose/wholebody/checkpoint"
SIZE = (96, 128)


@pytest.fixture(scope="package")
def published_model() -> tuple[DirectEngine, PoseModel]:
    backbone, model = open_published(PUBLISHED, size=SIZE)
    return DirectEngine(backbone), model


@pytest.fixture(scope="package")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of the network that the fixture could have been fine-tuned from: no class embedding."""
    folder = tmp_path_factory.mktemp("backbones") / "base"
    shutil.copytree(PUBLISHED, folder, ignore=shutil.ignore_patterns("decoder"))
    (folder / "model_index.json").write_text("{}")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    kept = {key: value for key, value in load_file(weights).items() if not key.startswith("class_embedding")}
    weights.chmod(0o644)
    save_file(kept, weights)
    for file, changes in (
        (folder / "unet/config.json", {"class_embed_type": None, "projection_class_embeddings_input_dim": None}),
        (folder / "scheduler/scheduler_config.json", {"prediction_type": "epsilon"}),
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.fixture(scope="package")
def image() -> NDArray[np.uint8]:
    generator = np.random.default_rng(11)
    coarse = generator.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), dtype=np.uint8))
