"""`diffsight evaluate depth-relative`, and the command of the task, with an added model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.diffsight.command import invoke
from tests.heads.marigold.original_files import write_original
from tests.service.models.small_catalogue import BACKBONES, add_all, write_backbone

CPU = ["--device", "cpu"]


@pytest.fixture
def added_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A models folder with a small backbone and a small network over it, which the settings name."""
    unet, seed = BACKBONES["sd21"]
    backbone = write_backbone(tmp_path / "sd21", unet, seed)
    original = write_original("depth", tmp_path / "depth", unet=unet)
    add_all({"sd21": backbone, "marigold-depth": original}, tmp_path / "models")
    monkeypatch.setenv("DIFFSIGHT_MODELS_FOLDER", str(tmp_path / "models"))


def test_an_added_model_is_measured_and_predicts(added_models: None, tmp_path: Path) -> None:
    (tmp_path / "nyu/kitchen_1").mkdir(parents=True)
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "nyu/kitchen_1/rgb_1.jpg")
    metres = np.tile(np.linspace(1000, 4000, 64).astype(np.uint16), (48, 1))
    Image.fromarray(metres).save(tmp_path / "nyu/kitchen_1/sync_depth_1.png")
    shown = invoke("evaluate", "depth-relative", str(tmp_path / "nyu"), "--steps", "1", "--json", *CPU)
    figures = json.loads(shown)
    assert figures["n_valid"] == 48 * 64
    assert 0 < figures["abs_rel"] < 1

    image, out = tmp_path / "nyu/kitchen_1/rgb_1.jpg", tmp_path / "depth.npy"
    flags = ["--ensemble-size", "2", "--steps", "1", "--npy", str(out), "--json"]
    answer = json.loads(invoke("predict", "depth-relative", str(image), *flags, *CPU))
    assert answer["head"] == "marigold-depth"
    assert answer["mean_uncertainty"] >= 0
    assert np.load(out).shape == (48, 64)
