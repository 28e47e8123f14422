"""What annotation tools read: each form as another program, or its own standard, understands it."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from heads.outputs import mask_answer
from heads.sdpose.skeletons import COCO_17
from service.jobs.formats.export import able_formats, exports_of, text_pieces
from service.jobs.formats.masks import brush_rle, mask_of, row_runs
from service.jobs.store import Item, Job, JobStore, Outcome, Record, canonical
from service.tasks import TASKS

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZES = {"a/one.png": (80, 60), "b/one.png": (40, 90), "b/two.png": (50, 50)}


def masks() -> dict[str, list[NDArray[np.bool_]]]:
    """Two masks an image, one of several parts and with a hole; of the last image the second is empty."""
    drawn = np.random.default_rng(0)
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for name, (width, height) in SIZES.items():
        first = np.zeros((height, width), bool)
        first[5:30, 10:35] = True
        first[10:15, 20:25] = False
        first[35:38, 2:4] = True
        found[name] = [first, drawn.random((height, width)) < 0.3]
    found["b/two.png"][1][:] = False
    return found


def persons(name: str) -> dict[str, Any]:
    """A pose result: two persons whose points lie around their boxes, of whom the last image has none."""
    width, height = SIZES[name]
    drawn = np.random.default_rng(len(name))
    told = []
    for index in range(0 if name == "b/two.png" else 2):
        box = [3.0 + 10 * index, 2.0, width / 2, height * 0.8]
        points = np.array(box[:2]) + drawn.random((17, 2)) * box[2:]
        points[16] = (-5.0, 3.0)
        scores = np.where(np.arange(17) % 4 == 3, 0.1, 0.9)
        person = {"bbox": box, "bbox_score": 0.8, "score": 0.7, "problem": ""}
        told.append({**person, "keypoints": points.tolist(), "keypoint_scores": scores.tolist()})
    broken = {"bbox": [1, 1, 0, 0], "bbox_score": 1.0, "score": 0.0, "problem": "no width"}
    told.append({**broken, "keypoints": [], "keypoint_scores": []})
    links = [list(link) for link in COCO_17.links]
    return {
        "persons": told,
        "boxes_from": "caller",
        "names": list(COCO_17.names),
        "links": links,
        "keypoint_threshold": 0.3,
    }


def results(task: str) -> dict[str, dict[str, Any]]:
    if task == "pose":
        return {name: persons(name) for name in SIZES}
    if task == "zero-shot":
        posterior = [{"label": "cat & <dog>", "probability": 0.75}, {"label": "other", "probability": 0.25}]
        return {name: {"label": "cat & <dog>", "posterior": posterior} for name in SIZES}
    return {
        name: {
            "masks": [
                {"category_id": at + 1, **mask_answer(mask, ("cup", "dish")[at], 0.5).model_dump(exclude_none=True)}
                for at, mask in enumerate(found)
            ]
        }
        for name, found in masks().items()
    }


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()


def written(store: JobStore, task: str, form: str) -> bytes:
    """A job of the task with one failed image, in a form."""
    job = store.add(task, {}, {"kind": "folder", "address": "/a"})
    names = [*SIZES, "broken.png"]
    store.add_items(job.id, [Item(at, name, name, {}) for at, name in enumerate(names)])
    outcomes = [Outcome(3, error="broken")]
    for at, (name, result) in enumerate(results(task).items()):
        width, height = SIZES[name]
        whole = {"image": {"width": width, "height": height}, **result}
        outcomes.append(Outcome(at, f"{task}{at}", canonical(whole)))
    store.finish(job.id, outcomes)
    assert form in able_formats(exports_of(TASKS, task))
    return b"".join(text_pieces(form, store.get(job.id), lambda: store.records(job.id)))


def loaded(data: bytes, folder: Path) -> COCO:
    file = folder / "coco.json"
    file.write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def test_coco_keypoints_evaluate_in_pycocotools(stores: JobStore, tmp_path: Path) -> None:
    data = written(stores, "pose", "coco")
    truth = loaded(data, tmp_path)
    assert [image["file_name"] for image in truth.loadImgs(truth.getImgIds())] == list(SIZES)
    (category,) = truth.loadCats(truth.getCatIds())
    assert tuple(category["keypoints"]) == COCO_17.names
    assert category["skeleton"][0] == [link + 1 for link in COCO_17.links[0]]
    for one in truth.loadAnns(truth.getAnnIds()):
        assert one["num_keypoints"] == sum(v > 0 for v in one["keypoints"][2::3]) == 13
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes(json.loads(data)["annotations"])
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e9]] * 3, ["all", "medium", "large"]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["pose", "few-shot"])
def test_coco_loads_in_supervision(stores: JobStore, tmp_path: Path, task: str) -> None:
    supervision = pytest.importorskip("supervision")
    file = tmp_path / "coco.json"
    file.write_bytes(written(stores, task, "coco"))
    for name, (width, height) in SIZES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, height)).save(tmp_path / name)
    found = supervision.DetectionDataset.from_coco(str(tmp_path), str(file))
    by_name = {str(Path(path).relative_to(tmp_path)): told for path, _, told in found}
    assert by_name.keys() == SIZES.keys()
    if task == "pose":
        boxes = by_name["a/one.png"].xyxy
        assert boxes[0] == pytest.approx([3, 2, 43, 50])
        assert len(by_name["b/two.png"]) == 0
        return
    assert set(found.classes) == {"cup", "dish"}
    for name, expected in masks().items():
        whole = [mask for mask in expected if mask.any()]
        assert np.array_equal(np.asarray(by_name[name].mask), np.array(whole))


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


def test_openpose_has_a_file_an_image_with_a_neck(stores: JobStore) -> None:
    with zipfile.ZipFile(io.BytesIO(written(stores, "pose", "openpose"))) as archive:
        assert archive.namelist() == [f"{name}_keypoints.json" for name in SIZES]
        told = json.loads(archive.read("a/one.png_keypoints.json"))
        nobody = json.loads(archive.read("b/two.png_keypoints.json"))
    assert told["version"] == 1.1
    assert len(told["people"]) == 2
    assert len(told["people"][0]["pose_keypoints_2d"]) == 3 * 18
    assert nobody["people"] == []


def test_label_studio_has_percents_and_parents(stores: JobStore) -> None:
    tasks = json.loads(written(stores, "pose", "label-studio"))
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
    assert len([one for one in regions if one["type"] == "keypointlabels"]) == 2 * 12
    choices = json.loads(written(stores, "zero-shot", "label-studio"))
    assert choices[0]["predictions"][0]["result"][0]["value"] == {"choices": ["cat & <dog>"]}
    assert choices[0]["predictions"][0]["score"] == 0.75


def unpacked_brush(data: list[int]) -> NDArray[np.uint8]:
    """Label Studio's stream of bits read back, by the description of it in the contract."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        same = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if same else [read(word) for _ in range(length)]
    return np.array(values, np.uint8)


def test_brushes_are_the_masks_four_times_a_pixel(stores: JobStore) -> None:
    tasks = json.loads(written(stores, "segmentation", "label-studio"))
    for task, expected in zip(tasks, masks().values(), strict=True):
        whole = [mask for mask in expected if mask.any()]
        for region, mask in zip(task["predictions"][0]["result"], whole, strict=True):
            assert (region["original_height"], region["original_width"]) == mask.shape
            pixels = unpacked_brush(region["value"]["rle"]).reshape(*mask.shape, 4)
            assert np.array_equal(pixels, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))
    large = np.zeros((300, 300), bool)
    large[-1, -1] = True
    assert unpacked_brush(brush_rle(large)).sum() == 4 * 255


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


@pytest.mark.parametrize("name", SIZES)
def test_runs_and_masks_are_the_same(name: str) -> None:
    for mask, told in zip(masks()[name], results("few-shot")[name]["masks"], strict=True):
        assert np.array_equal(mask_of(told), mask)
        runs = row_runs(mask)
        assert sum(runs) == mask.size
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.shape), mask)


@pytest.mark.parametrize(
    ("task", "form"), [("pose", form) for form in able_formats(exports_of(TASKS, "pose"))] + [("referring", "coco")]
)
def test_every_form_is_written_while_it_is_read(task: str, form: str) -> None:
    job = Job("1", task, {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True, total=3000, done=3000)
    name = "a/one.png"
    result = {"image": {"width": 80, "height": 60}, **results(task)[name]}
    read = 0

    def records() -> Iterator[Record]:
        nonlocal read
        for at in range(3000):
            read += 1
            yield Record(at, f"{at}.png", {}, "k", result, "")

    for count, _ in enumerate(text_pieces(form, job, records)):
        assert read <= count + 1
        if count == 50:
            break
    assert 0 < read < 60
