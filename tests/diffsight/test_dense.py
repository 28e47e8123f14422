"""`diffsight predict depth|segmentation|referring`, `fit` and `evaluate`, as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backbones.errors import DiffsightError
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


@pytest.fixture
def photo(tmp_path: Path, picture: Image.Image) -> Path:
    file = tmp_path / "photo.png"
    picture.save(file)
    return file


def test_depth_writes_its_picture_and_its_map(head: Path, photo: Path, tmp_path: Path) -> None:
    overlay, out = tmp_path / "overlay.png", tmp_path / "depth.npy"
    files = ["--overlay", str(overlay), "--out", str(out)]
    printed = run("predict", "depth", str(photo), "--head", str(head), *files, "--json", *CPU)
    told = json.loads(printed)
    metres = np.load(out)
    assert metres.shape == (30, 40)
    assert told["minimum"] == pytest.approx(float(metres.min()), abs=1e-4)
    with Image.open(overlay) as opened:
        assert opened.size == (40, 30)
    assert "m, median" in run("predict", "depth", str(photo), "--head", str(head), *CPU)


def test_several_images_go_to_a_folder(head: Path, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (9, 5)).save(other)
    run("predict", "depth", str(photo), str(other), "--head", str(head), "--out", str(tmp_path / "maps"), *CPU)
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"photo.png", "other.png"}


def test_a_head_of_another_task_says_so(head: Path, photo: Path) -> None:
    with pytest.raises(DiffsightError, match="fitted head for depth"):
        CliRunner().invoke(
            app, ["predict", "segmentation", str(photo), "--head", str(head), *CPU], catch_exceptions=False
        )


def test_a_head_is_measured_over_nyu_images(head: Path, tmp_path: Path) -> None:
    (tmp_path / "kitchen_1").mkdir()
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "kitchen_1/rgb_1.jpg")
    Image.fromarray(np.full((48, 64), 2000, dtype=np.uint16)).save(tmp_path / "kitchen_1/sync_depth_1.png")
    told = json.loads(run("evaluate", "depth", str(tmp_path), "--head", str(head), "--json", *CPU))
    assert told["n_valid"] == 48 * 64
    assert 0 <= told["d1"] <= 1
