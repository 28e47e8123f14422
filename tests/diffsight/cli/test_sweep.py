"""`diffsight sweep` on a small folder of classes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from training.datasets.digits import DIGIT_NAMES, training_digits

if TYPE_CHECKING:
    pass

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


def test_a_sweep_ends_in_a_picture_and_a_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep.png"
    chosen = ["--block", "mid_block", "--block", "up_blocks.1.attentions.1", "--timestep", "20", "--pool-size", "1"]
    done = diffsight("sweep", "features", folder, "--out", out, *chosen)
    assert done.returncode == 0, done.stderr
    assert f"diffsight fit classifier {folder} --block" in done.stdout
    with Image.open(out) as picture:
        assert min(picture.size) > 100
