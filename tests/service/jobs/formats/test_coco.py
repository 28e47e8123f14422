"""COCO's JSON as pycocotools and supervision read it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.cocoeval import COCOeval

from heads.sdpose.skeletons import COCO_17
from service.jobs.store import JobStore
from tests.service.jobs.formats.finished_jobs import SIZES, load_coco, masks, write_form

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_coco_keypoints_evaluate_in_pycocotools(sqlite_store: JobStore, tmp_path: Path) -> None:
    data = write_form(sqlite_store, "pose", "coco")
    truth = load_coco(data, tmp_path)
    assert [image["file_name"] for image in truth.loadImgs(truth.getImgIds())] == list(SIZES)
    (category,) = truth.loadCats(truth.getCatIds())
    assert tuple(category["keypoints"]) == COCO_17.names
    assert category["skeleton"][0] == [link + 1 for link in COCO_17.links[0]]
    for annotation in truth.loadAnns(truth.getAnnIds()):
        assert annotation["num_keypoints"] == sum(v > 0 for v in annotation["keypoints"][2::3]) == 13
    with contextlib.redirect_stdout(io.StringIO()):
        predictions = truth.loadRes(json.loads(data)["annotations"])
        evaluation = COCOeval(truth, predictions, "keypoints")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e9]] * 3, ["all", "medium", "large"]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["pose", "few-shot"])
def test_coco_loads_in_supervision(sqlite_store: JobStore, tmp_path: Path, task: str) -> None:
    supervision = pytest.importorskip("supervision")
    file = tmp_path / "coco.json"
    file.write_bytes(write_form(sqlite_store, task, "coco"))
    for name, (width, height) in SIZES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, height)).save(tmp_path / name)
    dataset = supervision.DetectionDataset.from_coco(str(tmp_path), str(file))
    by_name = {str(Path(path).relative_to(tmp_path)): result for path, _, result in dataset}
    assert by_name.keys() == SIZES.keys()
    if task == "pose":
        boxes = by_name["a/one.png"].xyxy
        assert boxes[0] == pytest.approx([3, 2, 43, 50])
        assert len(by_name["b/two.png"]) == 0
        return
    assert set(dataset.classes) == {"cup", "dish"}
    for name, expected in masks().items():
        whole = [mask for mask in expected if mask.any()]
        assert np.array_equal(np.asarray(by_name[name].mask), np.array(whole))
