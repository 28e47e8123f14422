"""OpenPose's files."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import SIZES, write_form

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_openpose_has_a_file_an_image_with_a_neck(sqlite_store: JobStore) -> None:
    with zipfile.ZipFile(io.BytesIO(write_form(sqlite_store, "pose", "openpose"))) as archive:
        assert archive.namelist() == [f"{name}_keypoints.json" for name in SIZES]
        content = json.loads(archive.read("a/one.png_keypoints.json"))
        nobody = json.loads(archive.read("b/two.png_keypoints.json"))
    assert content["version"] == 1.1
    assert len(content["people"]) == 2
    assert len(content["people"][0]["pose_keypoints_2d"]) == 3 * 18
    assert nobody["people"] == []
