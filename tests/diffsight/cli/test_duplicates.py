"""`diffsight duplicates`, and the same over a job's results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.diffsight.command import diffsight
from training.datasets.digits import load_training_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, smaller or JPEG copies of three of them, and a file that is no image."""
    root = tmp_path_factory.mktemp("pictures")
    digits = load_training_digits()
    for number in range(6):
        Image.fromarray(digits.image(number)).save(root / f"{number}.png")
    (root / "copies").mkdir()
    first = Image.open(root / "0.png")
    first.resize((first.width * 4 // 5, first.height * 4 // 5)).save(root / "copies" / "smaller.png")
    Image.open(root / "1.png").save(root / "copies" / "saved.jpg", quality=80)
    shutil.copy(root / "0.png", root / "copies" / "same.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


def test_copies_in_a_folder_are_reported_in_groups(folder: Path) -> None:
    done = diffsight("duplicates", folder, "--similarity=-1", "--json")
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    (group,) = json.loads(done.stdout)
    assert group[0]["image"] == "0.png"
    alike = {member["image"]: member["similarity"] for member in group}
    assert len(alike) == 9
    assert alike["copies/same.png"] == pytest.approx(1)
    assert alike["copies/smaller.png"] > max(alike[f"{number}.png"] for number in range(1, 6))
