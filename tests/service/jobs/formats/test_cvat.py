"""CVAT's XML, judged by CVAT's SDK."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from heads.sdpose.skeletons import COCO_17
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import SIZES, masks, persons, written

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_cvat_has_skeletons_masks_and_tags(stores: JobStore) -> None:
    masks_module = pytest.importorskip("cvat_sdk.masks")
    root = ElementTree.fromstring(written(stores, "pose", "cvat"))
    assert root.findtext("version") == "1.1"
    images = root.findall("image")
    assert [image.get("name") for image in images] == list(SIZES)
    skeletons = images[0].findall("skeleton")
    assert len(skeletons) == 2
    points = skeletons[0].findall("points")
    assert [point.get("label") for point in points] == list(COCO_17.names)
    assert [point.get("outside") for point in points[:4]] == ["0", "0", "0", "1"]
    x, y = map(float, str(points[0].get("points")).split(","))
    assert (x, y) == pytest.approx(persons("a/one.png")["persons"][0]["keypoints"][0], abs=0.006)
    tags = ElementTree.fromstring(written(stores, "zero-shot", "cvat")).findall("image/tag")
    assert [tag.get("label") for tag in tags] == ["cat & <dog>"] * 3
    drawn = ElementTree.fromstring(written(stores, "referring", "cvat")).findall("image")
    for image, expected in zip(drawn, masks().values(), strict=True):
        whole = [mask for mask in expected if mask.any()]
        for told, mask in zip(image.findall("mask"), whole, strict=True):
            runs = [int(run) for run in str(told.get("rle")).split(",")]
            left, top, width, height = (int(str(told.get(name))) for name in ("left", "top", "width", "height"))
            # As CVAT's own SDK packs the same mask.
            assert [*runs, left, top, left + width - 1, top + height - 1] == masks_module.encode_mask(mask)
