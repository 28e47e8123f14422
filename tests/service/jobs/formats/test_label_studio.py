"""Label Studio's tasks and brushes, by its own rules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backbones.errors import InvalidInput
from service.jobs.formats.export import check_format
from service.jobs.formats.label_studio import image_address, model_version
from service.jobs.formats.masks import brush_rle
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import SIZES, masks, persons, unpack_brush, write_form

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_label_studio_has_percents_and_parents(sqlite_store: JobStore) -> None:
    tasks = json.loads(write_form(sqlite_store, "pose", "label-studio"))
    assert [task["data"]["image"] for task in tasks] == list(SIZES)
    regions = tasks[0]["predictions"][0]["result"]
    box, point = regions[0], regions[1]
    assert box["value"].pop("rectanglelabels") == ["person"]
    assert box["value"] == pytest.approx({"x": 3 / 0.8, "y": 2 / 0.6, "width": 50.0, "height": 80.0, "rotation": 0})
    assert point["parentID"] == box["id"]
    assert point["value"]["keypointlabels"] == ["nose"]
    x, y = persons("a/one.png")["persons"][0]["keypoints"][0]
    assert (point["value"]["x"], point["value"]["y"]) == pytest.approx((x / 0.8, y / 0.6))
    # Points of low scores, and those outside the picture, are not drawn.
    assert len([region for region in regions if region["type"] == "keypointlabels"]) == 2 * 12
    choices = json.loads(write_form(sqlite_store, "zero-shot", "label-studio"))
    assert choices[0]["predictions"][0]["result"][0]["value"] == {"choices": ["cat & <dog>"]}
    assert choices[0]["predictions"][0]["score"] == 0.75


def test_images_have_addresses_that_label_studio_opens(sqlite_store: JobStore) -> None:
    tasks = json.loads(write_form(sqlite_store, "pose", "label-studio", image_prefix="/data/local-files/?d=photos/"))
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d=photos/{name}" for name in SIZES]
    assert image_address("/data/local-files/?d=", "ä b&c.png") == "/data/local-files/?d=%C3%A4%20b%26c.png"
    assert image_address("s3://bucket/", "ä b.png") == "s3://bucket/ä b.png"
    with pytest.raises(InvalidInput, match="use it with label-studio"):
        check_format("coco", "pose", frozenset({"coco"}), image_prefix="/data/")


def test_the_version_is_another_with_any_fact() -> None:
    versions = {
        model_version(["pose"], facts) for facts in (["a" * 40, {}], ["a" * 39 + "b", {}], ["a" * 40, {"x": 1}])
    }
    assert len(versions) == 3
    assert all(version.split()[::2] == ["diffsight", "pose"] for version in versions)


def test_brushes_are_the_masks_four_times_a_pixel(sqlite_store: JobStore) -> None:
    tasks = json.loads(write_form(sqlite_store, "segmentation", "label-studio"))
    for task, expected in zip(tasks, masks().values(), strict=True):
        whole = [mask for mask in expected if mask.any()]
        for region, mask in zip(task["predictions"][0]["result"], whole, strict=True):
            assert (region["original_height"], region["original_width"]) == mask.shape
            pixels = unpack_brush(region["value"]["rle"]).reshape(*mask.shape, 4)
            assert np.array_equal(pixels, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))
    large = np.zeros((300, 300), bool)
    large[-1, -1] = True
    assert unpack_brush(brush_rle(large)).sum() == 4 * 255
