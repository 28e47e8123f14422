"""The persons of a record as `Keypoints`, which the heads' writers take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heads.results import Keypoints


def keypoints_of(result: Mapping[str, Any]) -> Keypoints:
    """The result's persons; those whose box could not be looked at are left out."""
    persons = [person for person in result["persons"] if not person["problem"]]
    names = tuple(result["names"])
    return Keypoints(
        points=np.array([person["keypoints"] for person in persons], np.float64).reshape(-1, len(names), 2),
        scores=np.array([person["keypoint_scores"] for person in persons], np.float32).reshape(-1, len(names)),
        boxes=np.array([person["bbox"] for person in persons], np.float64).reshape(-1, 4),
        box_scores=np.array([person["bbox_score"] for person in persons], np.float64),
        boxes_from=result["boxes_from"],
        names=names,
        links=tuple((a, b) for a, b in result["links"]),
    )
