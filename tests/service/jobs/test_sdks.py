"""The files for Label Studio and CVAT, read by their own converters in an environment of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.jobs.store import JobStore
from tests.conftest import Server
from tests.service.jobs.formats.finished_jobs import SIZES, masks, persons, write_form
from tests.service.protocols.test_label_studio import INDEXED, NAMED, pose_server, predict, studio, uri  # noqa: F401

# They lower numpy and bring a second OpenCV.
PACKAGES = ["label-studio-sdk==2.1.2", "datumaro==1.13.12"]
SCRIPT = Path(__file__).with_name("read_by_sdks.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the SDKs."""
    folder = tmp_path_factory.mktemp("sdks")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", *PACKAGES]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=1500)
    if done.returncode:
        pytest.skip(f"{' and '.join(PACKAGES)} can not be installed here: {done.stderr.splitlines()[-1:]}")
    return python


@pytest.fixture
def sdk_readings(other_python: Path, sqlite_store: JobStore, tmp_path: Path) -> dict[str, Any]:
    """What they read from all our files."""
    for name, task in (("pose", "pose"), ("masks", "few-shot"), ("choices", "zero-shot")):
        (tmp_path / f"{name}-label-studio.json").write_bytes(write_form(sqlite_store, task, "label-studio"))
        (tmp_path / f"{name}-cvat.xml").write_bytes(write_form(sqlite_store, task, "cvat"))
    return read_by(other_python, tmp_path)


def read_by(other_python: Path, folder: Path) -> dict[str, Any]:
    """The output of the script in the other environment for a folder."""
    done = subprocess.run([str(other_python), str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads((folder / "read_back.json").read_text())
    return content


def test_the_sdks_read_our_files_as_meant(sdk_readings: dict[str, Any]) -> None:
    label_studio, cvat = sdk_readings["label_studio"], sdk_readings["datumaro"]
    assert label_studio["errors"] == []
    whole = [mask for masks_of_image in masks().values() for mask in masks_of_image if mask.any()]
    expected = [[*mask.shape, int(mask.sum()), np.flatnonzero(mask)[:5].tolist()] for mask in whole]
    assert label_studio["brushes"] == expected
    assert len(label_studio["coco"]["images"]) == len(SIZES)
    boxes = [
        annotation["bbox"]
        for annotation in label_studio["coco"]["annotations"]
        if annotation["image_id"] == 0 and "segmentation" in annotation
    ]
    good = [person["bbox"] for person in persons("a/one.png")["persons"] if not person["problem"]]
    assert boxes == [pytest.approx(box, abs=0.1) for box in good]

    points = [shape for shape in next(iter(cvat["pose"].values())) if shape[0] == "points"]
    assert {point[1] for point in points} <= set(persons("a/one.png")["names"])
    nose = next(point for point in points if point[1] == "nose")
    assert nose[2] == pytest.approx(persons("a/one.png")["persons"][0]["keypoints"][0], abs=0.006)
    assert [shape[1] for choice in cvat["choices"].values() for shape in choice] == ["cat & <dog>"] * len(SIZES)
    for name, masks_of_image in masks().items():
        areas = [int(mask.sum()) for mask in masks_of_image if mask.any()]
        assert [mask[2] for mask in cvat["masks"][name.removesuffix(".png")]] == areas


def test_predictions_of_the_ml_backend_are_valid_in_its_projects(
    other_python: Path,
    pose_server: Server,  # noqa: F811
    png: bytes,
    tmp_path: Path,
) -> None:
    predictions = [predict(pose_server, config, uri(png)).json()["results"][0] for config in (NAMED, INDEXED)]
    assert all(prediction["result"] for prediction in predictions)
    pairs = [[config, prediction] for config, prediction in zip((NAMED, INDEXED), predictions, strict=True)]
    (tmp_path / "predicted.json").write_text(json.dumps(pairs))
    assert read_by(other_python, tmp_path)["errors"] == [[], []]
