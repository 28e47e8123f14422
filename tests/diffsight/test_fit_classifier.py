"""Classifiers on the command line: fitted to a folder, asked, taken in by a server; and the sweep of settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from diffsight.sweep import Point, recommended, sweep_blocks
from training.datasets.digits import DIGIT_NAMES, training_digits

if TYPE_CHECKING:
    from tests.conftest import Server

SCRIPT = Path(sys.executable).with_name("diffsight")
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "DIFFSIGHT_ENGINE__TORCH_THREADS": "1"}


def diffsight(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each of three digits, one folder a class."""
    root = tmp_path_factory.mktemp("digits")
    digits = training_digits()
    for digit in range(3):
        (root / DIGIT_NAMES[digit]).mkdir()
        for index in np.flatnonzero(digits.labels == digit)[:4].tolist():
            Image.fromarray(digits.image(index)).save(root / DIGIT_NAMES[digit] / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def fitted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier that the command fitted to them."""
    file = tmp_path_factory.mktemp("fitted") / "digits.safetensors"
    done = diffsight(
        "fit", "classifier", folder, "--out", file, "--confusion", file.with_name("confusion.png"), "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["classes"], told["images"], told["duplicates"]) == (["one", "two", "zero"], [4, 4, 4], 0)
    assert np.array(told["confusion"]).sum() == told["validated"] == 12
    with Image.open(file.with_name("confusion.png")) as picture:
        assert min(picture.size) > 100
    return file


def test_a_fitted_file_answers_on_the_command_line(folder: Path, fitted: Path) -> None:
    images = sorted(folder.rglob("*.png"))
    done = diffsight("predict", "classifier", *images, "--classifier", fitted, "--json")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    right = [answer["label"] == Path(answer["file"]).parent.name for answer in answers]
    assert len(right) == 12
    assert np.mean(right) > 0.8


def test_a_server_takes_the_fitted_file(server: Server, fitted: Path) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    taken = server.client.post("/v1/classifiers/import", content=fitted.read_bytes(), headers=headers)
    assert taken.status_code == 201, taken.text
    assert [one["label"] for one in taken.json()["classes"]] == ["one", "two", "zero"]


def test_a_sweep_ends_in_a_picture_and_a_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep.png"
    chosen = ["--block", "mid_block", "--block", "up_blocks.1.attentions.1", "--timestep", "20", "--pool-size", "1"]
    done = diffsight("sweep", "features", folder, "--out", out, *chosen)
    assert done.returncode == 0, done.stderr
    assert f"diffsight fit classifier {folder} --block" in done.stdout
    with Image.open(out) as picture:
        assert min(picture.size) > 100


def test_what_is_no_folder_of_classes_is_one_line(tmp_path: Path, fitted: Path) -> None:
    (tmp_path / "cat").mkdir()
    for command in (("fit", "classifier", tmp_path, "--out", tmp_path / "x"), ("sweep", "features", tmp_path / "none")):
        done = diffsight(*command)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "FOLDER" in line
    (tmp_path / "cat.png").write_bytes(b"")
    wrong = diffsight("predict", "classifier", tmp_path / "cat.png", "--classifier", tmp_path / "cat.png")
    assert wrong.returncode == 2
    assert "no safetensors" in wrong.stderr


def test_the_swept_blocks_are_the_middle_and_the_decoder_in_order() -> None:
    names = (
        "down_blocks.0.attentions.0",
        "mid_block",
        "up_blocks.0.resnets.0",
        "up_blocks.1.resnets.0",
        "up_blocks.1.attentions.0",
    )
    expected = ("mid_block", "up_blocks.0.resnets.0", "up_blocks.1.attentions.0")
    assert sweep_blocks(None, names) == expected
    assert sweep_blocks(["up_blocks.1.resnets.0"], names) == ("up_blocks.1.resnets.0",)


def test_the_least_log_loss_is_recommended() -> None:
    points = [Point(("a",), 20, 1, 0.9, 0.5), Point(("b",), 20, 1, 0.9, 0.4), Point(("a", "b"), 50, 2, 0.91, 0.45)]
    assert recommended(points) == points[1]
