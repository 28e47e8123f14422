"""CVAT's XML, checked by CVAT's SDK."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from heads.sdpose.skeletons import COCO_17
from service.jobs.formats.cvat import cvat
from service.jobs.records import Job, Record
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import SIZES, masks, persons, write_form

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_cvat_has_skeletons_masks_and_tags(sqlite_store: JobStore) -> None:
    masks_module = pytest.importorskip("cvat_sdk.masks")
    root = ElementTree.fromstring(write_form(sqlite_store, "pose", "cvat"))
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
    tags = ElementTree.fromstring(write_form(sqlite_store, "zero-shot", "cvat")).findall("image/tag")
    assert [tag.get("label") for tag in tags] == ["cat & <dog>"] * 3
    drawn = ElementTree.fromstring(write_form(sqlite_store, "referring", "cvat")).findall("image")
    for image, expected in zip(drawn, masks().values(), strict=True):
        whole = [mask for mask in expected if mask.any()]
        for element, mask in zip(image.findall("mask"), whole, strict=True):
            runs = [int(run) for run in str(element.get("rle")).split(",")]
            left, top, width, height = (int(str(element.get(name))) for name in ("left", "top", "width", "height"))
            # As CVAT's own SDK packs the same mask.
            assert [*runs, left, top, left + width - 1, top + height - 1] == masks_module.encode_mask(mask)


@pytest.mark.field
def test_names_that_xml_cannot_hold_and_frames_that_a_job_skips() -> None:
    image = {"image": {"width": 8, "height": 8}}
    labels = ["bell\x07", "half\ufffe", "<&>\t"]
    records = [
        Record(n, f"{label}.png", {"frame": 5 * n}, "k", {**image, "label": label}, "")
        for n, label in enumerate(labels)
    ]
    job = Job("1", "zero-shot", {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True)
    root = ElementTree.fromstring("".join(cvat(job, lambda: records)).encode())
    assert [image.get("id") for image in root.findall("image")] == ["0", "5", "10"]
    assert [image.get("name") for image in root.findall("image")] == ["bell\\u0007.png", "half\\ufffe.png", "<&>\t.png"]
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == [
        "bell\\u0007",
        "half\\ufffe",
        "<&>\t",
    ]
