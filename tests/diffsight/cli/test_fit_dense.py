"""`diffsight fit depth|segmentation|referring`: what it refuses, and one short fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backbones.errors import InvalidInput
from diffsight.cli import app


def fit(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["fit", *map(str, arguments), "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures that are darker below, where they are nearer."""
    for part in ("images", "depth"):
        (tmp_path / "world" / part).mkdir(parents=True)
    for number in range(8):
        shade = np.linspace(200 + number, 40, 64).astype(np.uint8)
        image = np.repeat(np.repeat(shade[:, None, None], 64, axis=1), 3, axis=2)
        Image.fromarray(image).save(tmp_path / f"world/images/{number}.png")
        Image.fromarray(image[..., 0].astype(np.uint16) * 20).save(tmp_path / f"world/depth/{number}.png")
    return tmp_path / "world"


def test_a_fitted_head_is_written_with_its_figures(folder: Path, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--batch", 2, "--width", 16, "--json")
    answer = json.loads(fit("depth", folder, "--out", tmp_path / "heads", *options))
    assert Path(answer["head"]).is_file()
    assert answer["figures"]


@pytest.mark.parametrize("task", ["depth", "segmentation", "referring"])
def test_a_width_that_cannot_be_grouped_is_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit(task, tmp_path, "--out", tmp_path / "heads", "--width", 17)
    assert caught.value.field == "--width"
    assert not (tmp_path / "heads").exists()
