"""COCO keypoints: what pycocotools, supervision, CVAT and most trainers load."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from service.jobs.formats.people import keypoints_of
from service.jobs.store import Job, Record, canonical


def image_id(record: Record) -> Any:
    """The id that a COCO source gave, else the image's place in the job, from 1."""
    return record.given.get("image_id", record.position + 1)


def coco(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """`images`, then `annotations`, each in the job's order, in two readings; `categories` from the first image."""
    from heads.sdpose.coco import coco_annotations, coco_category

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
        found = keypoints_of(result)
        threshold = result["keypoint_threshold"]
        for one in coco_annotations(found, image_id=image_id(record), threshold=threshold):
            yield ("" if first else ",") + canonical({**one, "id": next(ids)})
            first = False
    yield f'],"categories":[{category}]}}\n'
