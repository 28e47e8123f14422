"""`diffsight fit zero-shot`: a file of temperatures that answers then use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.diffsight.command import ENVIRONMENT, diffsight
from training.datasets.digits import DIGIT_NAMES, load_training_digits

TEMPLATE = ("--template", "a handwritten {}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each of two digits, one folder a label."""
    root = tmp_path_factory.mktemp("labelled")
    digits = load_training_digits()
    for digit in range(2):
        (root / DIGIT_NAMES[digit]).mkdir()
        for index in np.flatnonzero(digits.labels == digit)[:2].tolist():
            Image.fromarray(digits.image(index)).save(root / DIGIT_NAMES[digit] / f"{index}.png")
    return root


@pytest.mark.slow
def test_a_fitted_temperature_is_used_and_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "digits.json"
    done = diffsight("fit", "zero-shot", folder, "--out", out, *TEMPLATE, "--confidence", "0.6")
    assert done.returncode == 0, done.stderr
    header, schedule, race, wrote = done.stdout.splitlines()
    assert header.split()[:3] == ["answers", "of", "temperature"]
    assert schedule.startswith("schedule default")
    assert race.startswith("race at 0.6")
    assert wrote == f"wrote {out}"
    made = json.loads(out.read_text())
    assert (made["labels"], made["images"], len(made["fits"])) == (["one", "zero"], 4, 2)
    assert all(fit["temperature"] > 0 for fit in made["fits"])

    monkeypatch.setitem(ENVIRONMENT, "DIFFSIGHT_ZERO_SHOT_CALIBRATION", str(out))
    image = next(iter(sorted(folder.rglob("*.png"))))
    command = ("predict", "zero-shot", image, "--labels", "one,zero", *TEMPLATE, "--json")
    answer = json.loads(diffsight(*command, "--confidence", "0.6").stdout)
    assert (answer["calibrated"], answer["temperature"]) == (True, made["fits"][1]["temperature"])
    answer = json.loads(diffsight(*command, "--temperature", "2").stdout)
    assert (answer["calibrated"], answer["temperature"]) == (False, 2.0)


def test_one_label_is_no_labelled_folder(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    done = diffsight("fit", "zero-shot", tmp_path, "--out", tmp_path / "x.json")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "FOLDER" in line
