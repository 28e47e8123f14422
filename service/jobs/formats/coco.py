"""COCO's JSON, keypoints or masks: read by pycocotools, supervision, CVAT and most training tools."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from heads.sdpose.coco import coco_annotations, coco_category
from service.jobs.formats.people import keypoints_of
from service.jobs.records import Job, Record
from service.jobs.store import canonical


def image_id(record: Record) -> Any:
    """The id that a COCO source gave, else the image's place in the job, from 1."""
    return record.given.get("image_id", record.position + 1)


def coco(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """The results of any task that has persons or masks."""
    first = next(iter(records()), None)
    has_persons = first is not None and "persons" in (first.result or {})
    return coco_persons(job, records) if has_persons else coco_masks(job, records)


def coco_persons(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """`images`, then `annotations`, in the job's order; the records are read twice. `categories` come from the first
    image.
    """
    yield '{"info":{"description":"diffsight"},"licenses":[],"images":['
    category = ""
    for index, record in enumerate(records()):
        result = record.result or {}
        category = category or canonical(coco_category(keypoints_of(result)))
        yield ("," if index else "") + canonical({"id": image_id(record), "file_name": record.name, **result["image"]})
    yield '],"annotations":['
    ids = itertools.count(1)
    first = True
    for record in records():
        result = record.result or {}
        keypoints = keypoints_of(result)
        threshold = result["keypoint_threshold"]
        for annotation in coco_annotations(keypoints, image_id=image_id(record), threshold=threshold):
            yield ("" if first else ",") + canonical({**annotation, "id": next(ids)})
            first = False
    yield f'],"categories":[{category}]}}\n'


def coco_masks(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """The same for masks: an annotation with RLE for each non-empty mask. Only categories that occur are listed."""
    yield '{"info":{"description":"diffsight"},"licenses":[],"images":['
    for index, record in enumerate(records()):
        size = (record.result or {})["image"]
        yield ("," if index else "") + canonical({"id": image_id(record), "file_name": record.name, **size})
    yield '],"annotations":['
    names: dict[int, str] = {}
    ids = itertools.count(1)
    for record in records():
        for mask in (record.result or {})["masks"]:
            names[mask["category_id"]] = mask["name"]
            if not mask["area"]:
                continue
            at = next(ids)
            fields = {name: mask[name] for name in ("category_id", "area", "bbox", "score")}
            whole = {"id": at, "image_id": image_id(record), "segmentation": mask["rle"], "iscrowd": 0, **fields}
            yield ("," if at > 1 else "") + canonical(whole)
    categories = [{"id": at, "name": names[at], "supercategory": ""} for at in sorted(names)]
    yield f'],"categories":{canonical(categories)}}}\n'
