"""YOLO's labels within their bounds."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from heads.sdpose.skeletons import COCO_17
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import persons, written

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_yolo_numbers_are_within_bounds_and_left_mirrors_right(stores: JobStore) -> None:
    import yaml

    with zipfile.ZipFile(io.BytesIO(written(stores, "pose", "yolo"))) as archive:
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
