"""YOLO's labels within their bounds."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from heads.sdpose.skeletons import COCO_17
from service.jobs.formats.yolo import yolo
from service.jobs.records import Job, Record
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import persons, write_form

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_yolo_numbers_are_within_bounds_and_left_mirrors_right(sqlite_store: JobStore) -> None:
    import yaml

    with zipfile.ZipFile(io.BytesIO(write_form(sqlite_store, "pose", "yolo"))) as archive:
        about = yaml.safe_load(archive.read("data.yaml"))
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name != "data.yaml"}
    assert texts.keys() == {"labels/a/one.txt", "labels/b/one.txt", "labels/b/two.txt"}
    assert about["kpt_shape"] == [17, 3]
    mirrored = [COCO_17.names[at] for at in about["flip_idx"]]
    assert mirrored[COCO_17.names.index("left_wrist")] == "right_wrist"
    assert mirrored[0] == "nose"
    assert texts["labels/b/two.txt"] == ""
    for line in texts["labels/a/one.txt"].splitlines():
        kind, *numbers = line.split()
        values = np.array(numbers, float)
        assert kind == "0"
        assert len(values) == 4 + 3 * 17
        assert ((values[:4] >= 0) & (values[:4] <= 1)).all()
        points = values[4:].reshape(17, 3)
        assert set(points[:, 2]) == {0.0, 2.0}
        assert points[16].tolist() == [0, 0, 0]
    first = np.array(texts["labels/a/one.txt"].splitlines()[0].split()[5:8], float)
    point = persons("a/one.png")["persons"][0]["keypoints"][0]
    assert first == pytest.approx([point[0] / 80, point[1] / 60, 2], abs=1e-5)


def files_of(*names: str, fields: dict[str, Any] | None = None) -> dict[str, str]:
    """The files of a job over pictures of these names, all without persons."""
    nobody = {"persons": [], "boxes_from": "caller", "names": ["nose"], "links": [], "keypoint_threshold": 0.3}
    result = {"image": {"width": 8, "height": 8}, **nobody}
    records = [Record(n, name, fields or {}, "k", result, "") for n, name in enumerate(names)]
    job = Job("1", "pose", {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True)
    pairs = list(yolo(job, lambda: records))
    assert len({path.casefold() for path, _ in pairs}) == len(names) + 1
    return dict(pairs)


@pytest.mark.field
def test_every_frame_of_a_video_has_a_file() -> None:
    files = files_of("clip.mp4#0", "clip.mp4#5", fields={"frame": 0})
    assert list(files) == ["labels/clip.mp4#0.txt", "labels/clip.mp4#5.txt", "data.yaml"]


@pytest.mark.field
def test_pictures_that_differ_in_their_suffix_share_no_labels() -> None:
    files = files_of("a.jpg", "b.png", "a.png", "A.webp", "blob", ".png")
    assert list(files)[:3] == ["labels/a.jpg.txt", "labels/b.txt", "labels/a.png.txt"]
    assert "call them a.jpg.jpg" in files["data.yaml"]


@pytest.mark.field
@pytest.mark.parametrize(
    ("name", "label", "folder"),
    [
        ("images/train/1.png", "labels/train/1.txt", "images"),
        ("set/images/1.png", "set/labels/1.txt", "set/images"),
        ("images/x/images/1.png", "images/x/labels/1.txt", "images/x/images"),
        ("train/images", "labels/train/images.txt", "images"),
    ],
)
def test_labels_are_where_trainers_look_for_them(name: str, label: str, folder: str) -> None:
    import yaml

    files = files_of(name)
    about = yaml.safe_load(files["data.yaml"])
    assert (next(iter(files)), about["train"]) == (label, folder)
    assert "path" not in about


@pytest.mark.field
def test_several_folders_of_images_are_all_named() -> None:
    import yaml

    assert yaml.safe_load(files_of("a/images/1.png", "b/images/1.png")["data.yaml"])["val"] == ["a/images", "b/images"]
