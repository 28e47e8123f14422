"""`diffsight evaluate depth` on images laid out as NYU's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backbones.loading.source import open_backbone
from diffsight.cli import app
from heads.vpd.checkpoint import FittedAs, save_fitted
from tests.heads.vpd.conftest import random_network

CPU = ["--device", "cpu"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("heads") / "depth.safetensors"
    backbone = open_backbone("pocket")
    told = backbone.description
    save_fitted(file, random_network(backbone, "depth"), FittedAs("depth", "pocket", told.revision, told.image_size))
    return file


def test_a_head_is_measured_over_nyu_images(head: Path, tmp_path: Path) -> None:
    (tmp_path / "kitchen_1").mkdir()
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "kitchen_1/rgb_1.jpg")
    Image.fromarray(np.full((48, 64), 2000, dtype=np.uint16)).save(tmp_path / "kitchen_1/sync_depth_1.png")
    told = json.loads(run("evaluate", "depth", str(tmp_path), "--head", str(head), "--json", *CPU))
    assert told["n_valid"] == 48 * 64
    assert 0 <= told["d1"] <= 1
