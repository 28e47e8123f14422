"""Which annotations of a COCO file are persons to estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heads.sdpose.persons import read_annotated_persons
from heads.sdpose.skeletons import COCO_17

POINTS = np.stack([np.linspace(20, 80, 17), np.linspace(10, 90, 17)], axis=1)


def annotation(**changed: Any) -> dict[str, Any]:
    flat = np.concatenate([POINTS, np.full((17, 1), 2.0)], axis=1).flatten().tolist()
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 60, 80], "area": 4800.0, "iscrowd": 0}
    return {**whole, "keypoints": flat, "num_keypoints": 17, **changed}


def truth(*annotations: dict[str, Any]) -> dict[str, Any]:
    category = {"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}
    return {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "annotations": list(annotations),
        "categories": [category],
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"iscrowd": 1},
        {"num_keypoints": 0},
        {"keypoints": [0.0, 0.0, 2.0] * 17},
        {"keypoints": []},
        {"bbox": []},
        {"bbox": [120, 10, 30, 30]},
    ],
)
def test_annotations_that_are_no_person_are_left_out(changed: dict[str, Any]) -> None:
    assert len(read_annotated_persons(truth(annotation()))) == 1
    assert read_annotated_persons(truth(annotation(**changed))) == []
