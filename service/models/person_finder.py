"""Finds persons for requests without boxes: by a detector, or by the segmentation head's class `person`."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import ModelNotFound
from heads.results import ClassMap
from heads.sdpose.detectors import PERSON, Boxes, Detector, open_detector
from heads.sdpose.pose import PersonFinder
from heads.vpd.heads import SegmentationHead
from heads.vpd.segmentation import predict_segmentation
from service.settings.loader import Settings

SEGMENTATION = "segmentation"
"""Name of the detector without a model of its own: connected parts of the segmentation head's class `person`."""

_LEAST_SHARE = 0.002


def open_person_finder(
    settings: Settings, backbone: Backbone, *, shipped: bool, segmentation: Callable[[], SegmentationHead | None]
) -> PersonFinder | None:
    """The detector that the settings name; for the shipped pose network, the shipped segmentation head.

    shipped: whether the pose network is the shipped one. segmentation: returns the segmentation head over the same
    backbone, if there is one.
    Raises ModelNotFound and CheckpointError if a named detector does not open.
    """
    named = settings.pose.detector
    if named == SEGMENTATION or (shipped and not named):
        head = segmentation()
        if head is not None and PERSON in head.classes:
            return find_by_segmentation(head)
        if not named:
            return None
        raise ModelNotFound(
            "this server has no segmentation head with a class 'person'",
            hint="set DIFFSIGHT_HEADS__SEGMENTATION to one, or DIFFSIGHT_POSE__DETECTOR to a detector",
        )
    if not named:
        return None
    device = backbone.description.device
    detector = open_detector(named, device=device, cache_folder=settings.cache_folder, offline=settings.offline)
    return find_by_detector(detector)


def find_by_detector(detector: Detector) -> PersonFinder:
    """Persons found by a detector."""

    async def find(engine: Engine, image: NDArray[np.uint8], threshold: float) -> Boxes:
        run = engine.run if detector.on_device else engine.run_on_host
        return await run(detector.find, image, threshold)

    return PersonFinder(detector.name, detector.name, find, detector.network)


def find_by_segmentation(head: SegmentationHead) -> PersonFinder:
    """Persons as connected parts of the class `person`, which the head must have."""

    async def find(engine: Engine, image: NDArray[np.uint8], threshold: float) -> Boxes:
        classes = await predict_segmentation(engine, image, head)
        return await engine.run_on_host(boxes_of_parts, classes, PERSON, threshold)

    return PersonFinder(head.name, head.revision, find)


def boxes_of_parts(classes: ClassMap, name: str, threshold: float) -> Boxes:
    """Boxes around the connected parts of a class, with their mean probabilities.

    Parts of less than `_LEAST_SHARE` of the image are left out; things of one class that touch are one part.
    """
    mask = (classes.class_map == classes.classes.index(name)).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    boxes, areas = statistics[:, :4].astype(np.float64), statistics[:, cv2.CC_STAT_AREA]
    scores = np.bincount(parts.ravel(), weights=classes.probabilities.ravel()) / areas.clip(min=1)
    large = (areas >= _LEAST_SHARE * mask.size) & (scores >= threshold)
    large[0] = False  # the background
    best_first = np.flatnonzero(large)[np.argsort(-scores[large], kind="stable")]
    return boxes[best_first], scores[best_first]
