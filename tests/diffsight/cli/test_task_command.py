"""`diffsight predict TASK`: as it is installed, and what each task writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backbones.errors import DiffsightError
from diffsight.cli import app
from tests.diffsight.command import assert_one_line_error, diffsight, invoke

PUBLISHED = Path(__file__).parents[2] / "conformance/fixtures/sdpose/wholebody/checkpoint"
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
    assert [person["bbox"] for person in first["persons"]] == [[2, 1, 20, 25], [15.5, -4, 30, 40]]
    np.testing.assert_allclose(
        first["persons"][0]["keypoint_scores"], second["persons"][0]["keypoint_scores"], atol=1e-6
    )
    for folder in ("overlay", "openpose"):
        assert sorted(file.name for file in (tmp_path / folder).iterdir()) == ["one.png", "two.png"]
        with Image.open(tmp_path / folder / "one.png") as drawn:
            assert drawn.size == (40, 30)


def test_the_answer_of_pose_is_a_line_for_people(pictures: list[Path]) -> None:
    done = diffsight("predict", "pose", pictures[0], "--backbone", PUBLISHED, **SMALL)
    assert done.returncode == 0, done.stderr
    assert "1 person by whole_image" in done.stdout


def test_a_box_of_three_numbers_is_refused(pictures: list[Path]) -> None:
    assert_one_line_error(diffsight("predict", "pose", pictures[0], "--box", "1,2,3"), "--box", "'1,2,3'")


def test_a_network_that_is_not_there(pictures: list[Path]) -> None:
    assert_one_line_error(diffsight("predict", "pose", pictures[0], "--weights", "nowhere"), "nowhere")


def test_zero_shot_prints_a_line_an_image(pictures: list[Path]) -> None:
    done = diffsight("predict", "zero-shot", *pictures, "--labels", "zero,one", "--label", "two, or more")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{pictures[0]}: ")
    assert second.startswith(f"{pictures[1]}: ")
    assert all(label in first for label in ("zero ", "one ", "two, or more "))


def test_zero_shot_json_is_an_object_a_line_and_a_bad_file_stops_nothing(pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    options = ["--labels", "zero, one", "--template", "a handwritten {}", "--json"]
    done = diffsight("predict", "zero-shot", pictures[0], bad, tmp_path / "missing.png", pictures[1], *options)
    assert done.returncode == 2
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(file) for file in pictures]
    assert answers[0]["posterior"] == answers[1]["posterior"]
    assert answers[0]["posterior"][0]["label"] == answers[0]["label"]
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert "bad.png" in errors[0]
    assert "missing.png: cannot be read" in errors[1]


def test_features_writes_one_row_an_image(pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "features.npy"
    done = diffsight("predict", "features", *pictures, "--out", out, "--block", "mid_block", "--json")
    assert done.returncode == 0, done.stderr
    vectors = np.load(out)
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["files"]) == ([str(file) for file in pictures], [str(out)])
    assert [len(answer["vectors"]), answer["dimension"]] == list(vectors.shape)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize(
    ("file", "message"), [("map.png", "several forms with the suffix '.png'"), ("map.tif", "no form with the suffix")]
)
def test_a_suffix_of_no_form_is_refused(pictures: list[Path], file: str, message: str) -> None:
    done = diffsight("predict", "depth", pictures[0], "--out", file)
    assert_one_line_error(done, "--out", message, "--png16 map.png", "--overlay map.png")


@pytest.mark.slow
def test_a_label_tree_is_descended(pictures: list[Path], tmp_path: Path) -> None:
    tree = tmp_path / "labels.json"
    tree.write_text(json.dumps({"small": ["zero", "one"], "large": ["eight", "nine"]}))
    options: list[str | Path] = [
        "--tree",
        tree,
        "--template",
        "a handwritten {}",
        "--confidence",
        "0.6",
        "--budget",
        "60",
    ]
    done = diffsight("predict", "label-tree", pictures[0], *options)
    assert done.returncode == 0, done.stderr
    assert f"{pictures[0]}: small" in done.stdout or f"{pictures[0]}: large" in done.stdout
    answer = json.loads(diffsight("predict", "label-tree", pictures[0], *options, "--json").stdout)
    assert answer["path"][0] in ("small", "large")
    assert answer["rows"] <= 60

    tree.write_text('{"small": 3}')
    refused = diffsight("predict", "label-tree", pictures[0], *options)
    assert refused.returncode == 2
    assert "small has '3' below it" in refused.stderr


@pytest.mark.slow
def test_labels_that_are_close_enough_tie(pictures: list[Path]) -> None:
    # A confidence at which eight blocks drop no label.
    options = ["--labels", "zero,one", "--indifference", "10", "--confidence", "0.9999999", "--json"]
    done = diffsight("predict", "zero-shot", pictures[0], *options)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["stopped"] == "indifferent"
    assert {answer["label"], *answer["tied"]} == {"zero", "one"}
    refused = diffsight("predict", "zero-shot", pictures[0], *options, "--scheme", "schedule")
    assert refused.returncode == 2
    assert "needs scheme=race" in refused.stderr


CPU = ["--device", "cpu"]


@pytest.fixture
def photo(tmp_path: Path, picture: Image.Image) -> Path:
    file = tmp_path / "photo.png"
    picture.save(file)
    return file


def test_depth_writes_its_picture_and_its_map(depth_head: Path, photo: Path, tmp_path: Path) -> None:
    overlay, out = tmp_path / "overlay.png", tmp_path / "depth.npy"
    files = ["--overlay", str(overlay), "--npy", str(out)]
    answer = json.loads(invoke("predict", "depth", str(photo), "--weights", str(depth_head), *files, "--json", *CPU))
    metres = np.load(out)
    assert metres.shape == (30, 40)
    assert answer["statistics"]["minimum"] == pytest.approx(float(metres.min()), abs=1e-4)
    assert set(answer["files"]) == {str(overlay), str(out)}
    with Image.open(overlay) as opened:
        assert opened.size == (40, 30)
    assert "m, median" in invoke("predict", "depth", str(photo), "--weights", str(depth_head), *CPU)


def test_several_images_go_to_a_folder(depth_head: Path, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (9, 5)).save(other)
    invoke(
        "predict",
        "depth",
        str(photo),
        str(other),
        "--weights",
        str(depth_head),
        "--png16",
        str(tmp_path / "maps"),
        *CPU,
    )
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"photo.png", "other.png"}


def test_a_head_of_another_task_says_so(depth_head: Path, photo: Path) -> None:
    with pytest.raises(DiffsightError, match="fitted head for depth"):
        CliRunner().invoke(
            app, ["predict", "segmentation", str(photo), "--weights", str(depth_head), *CPU], catch_exceptions=False
        )
