"""Read persons from COCO files as the published evaluation does: from detections, or from annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.sdpose.crops import corners

PERSON = 1
"""COCO's category of persons."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The box of a person. xyxy: (4,) float32 corners in image pixels, which may lie outside."""

    id: int
    image_id: int
    xyxy: NDArray[np.float32]
    score: float


def read_detected_persons(detections: Sequence[Mapping[str, Any]]) -> list[Person]:
    """All rows of category 1, in the file's order, numbered by it; no threshold, nothing clipped.

    Source: MMPose's datasets/base/base_coco_style_dataset.py, `_load_detection_results`.
    """
    rows = [row for row in detections if row.get("category_id", PERSON) == PERSON]
    xyxy = corners(np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4))
    return [
        Person(index, int(row["image_id"]), box, float(np.float32(row["score"])))
        for index, (row, box) in enumerate(zip(rows, xyxy, strict=True))
    ]


def read_annotated_persons(content: Mapping[str, Any]) -> list[Person]:
    """Persons of a COCO annotation file with clipped boxes: by image in the file's order, then as annotated.

    Crowds are left out, and persons without a box, points, labelled points, or a part inside the image.
    Source: MMPose's datasets/base/base_coco_style_dataset.py, `parse_data_info` and `_is_valid_instance`.
    """
    by_image: dict[int, list[Mapping[str, Any]]] = {int(image["id"]): [] for image in content["images"]}
    for annotation in content["annotations"]:
        by_image.get(int(annotation["image_id"]), []).append(annotation)
    persons = []
    for image in content["images"]:
        limit = np.array([image["width"] - 1, image["height"] - 1] * 2)
        for annotation in by_image[int(image["id"])]:
            if annotation.get("iscrowd") or not annotation.get("bbox") or not annotation.get("keypoints"):
                continue
            points = np.array(annotation["keypoints"], dtype=np.float32).reshape(-1, 3)
            labelled = annotation.get("num_keypoints", np.count_nonzero(points[:, :2].max(axis=1)))
            x, y, width, height = annotation["bbox"]
            xyxy = np.clip(np.array([x, y, x + width, y + height], dtype=np.float64), 0, limit).astype(np.float32)
            if not labelled or (xyxy[2:] <= xyxy[:2]).any() or points[:, :2].max() <= 0:
                continue
            persons.append(Person(int(annotation["id"]), int(image["id"]), xyxy, 1.0))
    return persons
