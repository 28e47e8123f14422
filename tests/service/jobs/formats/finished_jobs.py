"""Jobs with random results of every kind, and readers of their files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from heads.outputs import mask_answer
from heads.sdpose.skeletons import COCO_17
from service.jobs.formats.export import able_formats, exports_of, text_pieces
from service.jobs.records import Item, Outcome
from service.jobs.store import JobStore, canonical
from service.tasks import TASKS

SIZES = {"a/one.png": (80, 60), "b/one.png": (40, 90), "b/two.png": (50, 50)}


def masks() -> dict[str, list[NDArray[np.bool_]]]:
    """Two masks an image, one of several parts and with a hole; of the last image the second is empty."""
    drawn = np.random.default_rng(0)
    masks_by_name: dict[str, list[NDArray[np.bool_]]] = {}
    for name, (width, height) in SIZES.items():
        first = np.zeros((height, width), bool)
        first[5:30, 10:35] = True
        first[10:15, 20:25] = False
        first[35:38, 2:4] = True
        masks_by_name[name] = [first, drawn.random((height, width)) < 0.3]
    masks_by_name["b/two.png"][1][:] = False
    return masks_by_name


def persons(name: str) -> dict[str, Any]:
    """A pose result: two persons with points around their boxes; the last image has no persons."""
    width, height = SIZES[name]
    drawn = np.random.default_rng(len(name))
    persons = []
    for index in range(0 if name == "b/two.png" else 2):
        box = [3.0 + 10 * index, 2.0, width / 2, height * 0.8]
        points = np.array(box[:2]) + drawn.random((17, 2)) * box[2:]
        points[16] = (-5.0, 3.0)
        scores = np.where(np.arange(17) % 4 == 3, 0.1, 0.9)
        person = {"bbox": box, "bbox_score": 0.8, "score": 0.7, "problem": ""}
        persons.append({**person, "keypoints": points.tolist(), "keypoint_scores": scores.tolist()})
    broken = {"bbox": [1, 1, 0, 0], "bbox_score": 1.0, "score": 0.0, "problem": "no width"}
    persons.append({**broken, "keypoints": [], "keypoint_scores": []})
    links = [list(link) for link in COCO_17.links]
    return {
        "persons": persons,
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
                for at, mask in enumerate(masks_of_image)
            ]
        }
        for name, masks_of_image in masks().items()
    }


def write_form(store: JobStore, task: str, form: str, **settings: str) -> bytes:
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
    return b"".join(text_pieces(form, store.get(job.id), lambda: store.records(job.id), **settings))


def load_coco(data: bytes, folder: Path) -> COCO:
    """The COCO file as pycocotools loads it."""
    file = folder / "coco.json"
    file.write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def unpack_brush(data: list[int]) -> NDArray[np.uint8]:
    """Label Studio's run lengths decoded, by the description in the contract."""
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
