"""`diffsight predict pose` as it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.diffsight.test_cli import assert_one_line_error, diffsight

PUBLISHED = Path(__file__).parents[1] / "conformance/fixtures/sdpose/wholebody/checkpoint"
SMALL = {"DIFFSIGHT_POSE__CROP_WIDTH": "96", "DIFFSIGHT_POSE__CROP_HEIGHT": "128"}


@pytest.fixture
def pictures(tmp_path: Path, png: bytes) -> list[Path]:
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for file in files:
        file.write_bytes(png)
    return files


def test_json_lines_and_pictures(pictures: list[Path], tmp_path: Path) -> None:
    boxes = ["--box", "2,1,20,25", "--box", "15.5,-4,30,40"]
    out: list[str | Path] = ["--overlay", tmp_path / "overlay", "--openpose", tmp_path / "openpose"]
    done = diffsight(
        "predict", "pose", *pictures, tmp_path / "none.png", *boxes, *out, "--backbone", PUBLISHED, "--json", **SMALL
    )
    assert done.returncode == 2
    assert "none.png" in done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert [one["bbox"] for one in first["persons"]] == [[2, 1, 20, 25], [15.5, -4, 30, 40]]
    np.testing.assert_allclose(
        first["persons"][0]["keypoint_scores"], second["persons"][0]["keypoint_scores"], atol=1e-6
    )
    for folder in ("overlay", "openpose"):
        assert sorted(file.name for file in (tmp_path / folder).iterdir()) == ["one.png", "two.png"]
        with Image.open(tmp_path / folder / "one.png") as drawn:
            assert drawn.size == (40, 30)


def test_a_line_for_people(pictures: list[Path]) -> None:
    done = diffsight("predict", "pose", pictures[0], "--backbone", PUBLISHED, **SMALL)
    assert done.returncode == 0, done.stderr
    assert "1 person by whole_image" in done.stdout


def test_a_box_that_is_none(pictures: list[Path]) -> None:
    assert_one_line_error(diffsight("predict", "pose", pictures[0], "--box", "1,2,3"), "--box", "'1,2,3'")


def test_a_network_that_is_not_there(pictures: list[Path]) -> None:
    assert_one_line_error(diffsight("predict", "pose", pictures[0], "--checkpoint", "nowhere"), "nowhere")
