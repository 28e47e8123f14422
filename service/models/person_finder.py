"""What finds persons where a request sends no boxes: a detector, or the segmentation head's class `person`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backbones.backbone import Backbone
from backbones.engine import Engine
from heads.results import ClassMap
from heads.sdpose.detectors import PERSON, Boxes, Detector
from heads.vpd.heads import SegmentationHead
from heads.vpd.segmentation import predict_segmentation
from service.dense import head_revision

_LEAST_SHARE = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class PersonFinder:
    """name: what answers tell. revision: of its weights, as far as they are known; else its name.

    find: the persons in an image (H, W, 3) uint8 RGB whose score is the threshold at least.
    """

    name: str
    revision: str
    find: Callable[[Engine, NDArray[np.uint8], float], Coroutine[Any, Any, Boxes]]


def by_detector(detector: Detector) -> PersonFinder:
    """Persons as a detector finds them."""

    async def find(engine: Engine, image: NDArray[np.uint8], threshold: float) -> Boxes:
        run = engine.run if detector.on_device else engine.run_on_host
        return await run(detector.find, image, threshold)

    return PersonFinder(detector.name, detector.name, find)


def by_segmentation(head: SegmentationHead, backbone: Backbone) -> PersonFinder:
    """Persons as the parts of the class `person`, which the head must know."""

    async def find(engine: Engine, image: NDArray[np.uint8], threshold: float) -> Boxes:
        classes = await predict_segmentation(engine, image, head)
        return await engine.run_on_host(boxes_of_parts, classes, PERSON, threshold)

    return PersonFinder(head.name, head_revision(backbone, head), find)


def boxes_of_parts(classes: ClassMap, name: str, threshold: float) -> Boxes:
    """Boxes around the connected parts of a class, with their mean probabilities.

    Parts of less than `_LEAST_SHARE` of the image are left out; things of one class that touch are one part.
    """
    mask = (classes.class_map == classes.classes.index(name)).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    boxes, areas = statistics[:, :4].astype(np.float64), statistics[:, cv2.CC_STAT_AREA]
    scores = np.bincount(parts.ravel(), weights=classes.probabilities.ravel()) / areas.clip(min=1)
    found = (areas >= _LEAST_SHARE * mask.size) & (scores >= threshold)
    found[0] = False  # all that is of no part
    best_first = np.flatnonzero(found)[np.argsort(-scores[found], kind="stable")]
    return boxes[best_first], scores[best_first]
