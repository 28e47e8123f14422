"""`diffsight fit pose`: data and folders that it refuses before it opens a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbones.errors import DiffsightError
from diffsight.cli import app


def fit(*arguments: object) -> None:
    CliRunner().invoke(app, ["fit", "pose", *map(str, arguments)], catch_exceptions=False)


def test_a_file_that_holds_no_keypoints_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('{"images": []}')
    with pytest.raises(DiffsightError, match="COCO keypoint file"):
        fit(tmp_path / "none.json", "--images", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text('{"mine": true}')
    with pytest.raises(DiffsightError):
        fit(tmp_path / "none.json", "--images", tmp_path, "--out", out)
    assert (out / "config.json").read_text() == '{"mine": true}'
