"""The pose network and the person detector that the settings name, and the one way from a request to keypoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import heads.sdpose
from backbones.engine import Engine
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.registry import default_folder, find_entry
from backbones.stable_diffusion import StableDiffusion
from heads.results import Keypoints
from heads.sdpose.checkpoint import is_fitted_for, is_whole_folder, open_pose
from heads.sdpose.crops import Crop
from heads.sdpose.detectors import PERSON, open_detector
from heads.sdpose.pose import PoseModel, box_problem, estimate_poses
from heads.vpd.heads import SegmentationHead
from service.models.person_finder import PersonFinder, by_detector, by_segmentation
from service.settings.loader import Settings

SHIPPED = Path(next(iter(heads.sdpose.__path__))) / "pocket"

SEGMENTATION = "segmentation"
"""Name of a detector that is no model of its own: parts of the segmentation head's class `person`."""

Persons = Literal["auto", "detector", "whole_image"]


@dataclass(frozen=True, slots=True, eq=False)
class PoseService:
    """What there is to answer pose requests with; either may be missing."""

    model: PoseModel | None = None
    finder: PersonFinder | None = None

    def network(self) -> PoseModel:
        """The pose network. Raises ModelNotFound where this server has none."""
        if self.model is None:
            raise ModelNotFound(
                "this server has no pose network for its backbone",
                hint="set DIFFSIGHT_POSE__CHECKPOINT to a folder of SDPose, or to one that `diffsight fit pose` wrote",
            )
        return self.model


@dataclass(frozen=True, slots=True, eq=False)
class FoundPoses:
    """Keypoints, and what was wrong with each box: empty texts for good ones. Points of bad boxes are NaN."""

    keypoints: Keypoints
    problems: tuple[str, ...]


def open_pose_service(
    settings: Settings, backbone: StableDiffusion, segmentation: Callable[[], SegmentationHead | None]
) -> PoseService:
    """The network and the detector that the settings name, over the backbone that is served.

    segmentation: gives the head that is served beside. It is asked for where the detector is "segmentation", and for
    the shipped network where none is named.

    Without a name, the network is the backbone's own where it is a whole folder of SDPose, else the shipped head where
    it was fitted on this backbone. Raises ModelNotFound and CheckpointError as their loaders do.
    """
    pose = settings.pose
    size = pose.crop_width, pose.crop_height
    source = pose_source(settings)
    if source is None and is_fitted_for(SHIPPED, backbone):
        source = SHIPPED
    model = None if source is None else open_pose(backbone, source, size=size)
    finder = None
    if pose.detector == SEGMENTATION or (source == SHIPPED and not pose.detector):
        head = segmentation()
        if head is not None and PERSON in head.classes:
            finder = by_segmentation(head, backbone)
        elif pose.detector:
            raise ModelNotFound(
                "this server has no segmentation head with a class 'person'",
                hint="set DIFFSIGHT_HEADS__SEGMENTATION to one, or DIFFSIGHT_POSE__DETECTOR to a detector",
            )
    elif pose.detector:
        device, cache = backbone.description.device, settings.cache_folder
        opened = open_detector(pose.detector, device=device, cache_folder=cache, offline=settings.offline)
        finder = by_detector(opened)
    return PoseService(model, finder)


def pose_source(settings: Settings) -> Path | None:
    """The folder of the pose network that the settings name; None where they name none."""
    named = settings.pose.checkpoint
    if not named:
        whole = Path(settings.backbone).expanduser()
        return whole if is_whole_folder(whole) else None
    entry = find_entry(settings.models_folder or default_folder(), named)
    return entry.weights if entry is not None else Path(named).expanduser()


async def find_poses(
    poses: PoseService,
    engine: Engine,
    image: NDArray[np.uint8],
    *,
    boxes: Sequence[Sequence[float]] | None = None,
    box_scores: Sequence[float] | None = None,
    persons: Persons = "auto",
    detector_threshold: float = 0.3,
    max_persons: int = 200,
    crop: Crop = "affine",
    flip_test: bool = False,
) -> FoundPoses:
    """Keypoints of persons: of the caller's boxes, else of the detector's, else of the whole image as one.

    image: (H, W, 3) uint8 RGB. boxes: x, y, width, height in pixels each; a box without width or height fails alone.
    persons: where boxes come from when the caller gave none. max_persons: of a detector the best ones are taken.
    Raises ModelNotFound without a network, or without a detector that was asked for; InvalidInput for boxes.
    """
    network = poses.network()
    told = {"crop": crop, "flip_test": flip_test}
    if boxes is not None:
        given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        scores = np.ones(len(given)) if box_scores is None else np.array(box_scores, dtype=np.float64)
        if len(scores) != len(given):
            raise InvalidInput("box_scores", f"{len(scores)} scores for {len(given)} boxes", hint="send one a box")
        problems = tuple(box_problem(box) for box in given)
        good = np.array([not problem for problem in problems], dtype=bool)
        found = await estimate_poses(
            engine,
            network,
            image,
            given[good],
            box_scores=scores[good].tolist(),
            **told,  # type: ignore[arg-type]
        )
        return FoundPoses(_with_gaps(found, given, scores, good), problems)
    if persons == "detector" and poses.finder is None:
        raise ModelNotFound(
            "this server has no person detector",
            hint="set DIFFSIGHT_POSE__DETECTOR, or send `boxes`, or persons=whole_image",
        )
    if persons == "whole_image" or poses.finder is None:
        found = await estimate_poses(engine, network, image, **told)  # type: ignore[arg-type]
        return FoundPoses(found, ("",))
    detected, detected_scores = await poses.finder.find(engine, image, detector_threshold)
    found = await estimate_poses(
        engine, network, image, detected[:max_persons], box_scores=detected_scores[:max_persons].tolist(),
        boxes_from="detector", **told,  # type: ignore[arg-type]
    )  # fmt: skip
    return FoundPoses(found, ("",) * len(found.boxes))


def _with_gaps(
    found: Keypoints, boxes: NDArray[np.float64], scores: NDArray[np.float64], good: NDArray[np.bool_]
) -> Keypoints:
    """Keypoints of all boxes (N, 4) with scores (N,), in their order: NaN and 0 for those that were not looked at."""
    points = np.full((len(boxes), len(found.names), 2), np.nan)
    point_scores = np.zeros(points.shape[:2], dtype=np.float32)
    points[good], point_scores[good] = found.points, found.scores
    return Keypoints(points, point_scores, boxes, scores, "caller", found.names, found.links)
