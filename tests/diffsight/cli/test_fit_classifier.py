"""Classifiers on the command line: fitting to a folder, prediction, import into a server; and the sweep of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import Server

from tests.diffsight.command import diffsight


@pytest.fixture(scope="module")
def classifier_file(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier that the command fitted to them."""
    file = tmp_path_factory.mktemp("fitted") / "digits.safetensors"
    done = diffsight(
        "fit", "classifier", digits_folder, "--out", file, "--confusion", file.with_name("confusion.png"), "--json"
    )
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert (about["classes"], about["images"], about["duplicates"]) == (["one", "two", "zero"], [4, 4, 4], 0)
    assert np.array(about["confusion"]).sum() == about["validated"] == 12
    with Image.open(file.with_name("confusion.png")) as picture:
        assert min(picture.size) > 100
    return file


def test_a_fitted_file_answers_on_the_command_line(digits_folder: Path, classifier_file: Path) -> None:
    images = sorted(digits_folder.rglob("*.png"))
    done = diffsight("predict", "classifier", *images, "--classifier", classifier_file, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    pairs = zip(answer["images"], answer["answers"], strict=True)
    right = [prediction["label"] == Path(image).parent.name for image, prediction in pairs]
    assert len(right) == 12
    assert np.mean(right) > 0.8


def test_a_server_takes_the_fitted_file(server: Server, classifier_file: Path) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    taken = server.client.post("/v1/classifiers/import", content=classifier_file.read_bytes(), headers=headers)
    assert taken.status_code == 201, taken.text
    assert [class_["label"] for class_ in taken.json()["classes"]] == ["one", "two", "zero"]


def test_a_folder_without_classes_is_an_error_of_one_line(tmp_path: Path, digits_folder: Path) -> None:
    (tmp_path / "cat").mkdir()
    for command in (("fit", "classifier", tmp_path, "--out", tmp_path / "x"), ("sweep", "features", tmp_path / "none")):
        done = diffsight(*command)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "FOLDER" in line
    (tmp_path / "cat.png").write_bytes(b"")
    image = next(digits_folder.rglob("*.png"))
    wrong = diffsight("predict", "classifier", image, "--classifier", tmp_path / "cat.png")
    assert wrong.returncode == 2
    assert "not a safetensors" in wrong.stderr
