"""Keypoints in COCO's annotation form, which pycocotools, supervision and the annotation tools load."""

from __future__ import annotations

from typing import Any

import numpy as np

from heads.results import Keypoints
from heads.sdpose.metrics import flat_points, person_score
from heads.sdpose.persons import PERSON


def coco_category(keypoints: Keypoints) -> dict[str, Any]:
    """The category of persons: names of the points and the skeleton, whose points COCO counts from 1."""
    links = [[a + 1, b + 1] for a, b in keypoints.links]
    return {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(keypoints.names),
        "skeleton": links,
    }


def coco_annotations(
    keypoints: Keypoints, *, image_id: int = 1, first_id: int = 1, threshold: float = 0.3
) -> list[dict[str, Any]]:
    """One annotation a person; of 133 points in COCO-WholeBody's five lists.

    A point whose score is at least `threshold` is visible, v = 2; another is 0, 0, 0. The scores are in
    `keypoint_scores`, and `score` is the box's score times their mean above 0.2. Persons whose points are not finite
    are left out.
    """
    rows = []
    for index, (points, scores, box) in enumerate(
        zip(keypoints.points, keypoints.scores, keypoints.boxes, strict=True)
    ):
        if not np.isfinite(points).all():
            continue
        visible = np.where(scores >= threshold, 2, 0)
        shown = np.where(visible[:, None] > 0, points, 0.0)
        lists = flat_points(shown, visible)
        rows.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": PERSON,
                "iscrowd": 0,
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                **lists,
                "num_keypoints": sum(value > 0 for value in lists["keypoints"][2::3]),
                "score": person_score(scores, float(keypoints.box_scores[index])),
                "keypoint_scores": [round(float(score), 5) for score in scores],
            }
        )
    return rows
