"""The task `pose`: the keypoints of each person in an image."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.registry import ModelEntry
from backbones.stable_diffusion import StableDiffusion
from heads.inputs import InputCounts, Inputs
from heads.results import Keypoints
from heads.sdpose.checkpoint import PUBLISHED_SIZE, is_fitted_for, open_pose
from heads.sdpose.detectors import Boxes
from heads.sdpose.estimation import PoseModel, box_problem, estimate_poses, outside_problem
from heads.sdpose.poses import (
    CocoPoses,
    OpenPosePeople,
    PoseOptions,
    PoseResult,
    Poses,
    answer_persons,
    write_coco,
    write_openpose_json,
    write_skeletons,
)
from heads.task import JSON, PNG, Form, Limits, Task

POCKET = Path(__file__).parent / "pocket"
"""The network that ships for the embedded backbone."""
BODY_POINTS = 17


@dataclass(frozen=True, slots=True, eq=False)
class PersonFinder:
    """Finds persons if a request sends no boxes.

    name: for answers. revision: of its weights, or its name if that is unknown.
    find: (engine, image (H, W, 3) uint8 RGB, threshold) to the boxes whose score is the threshold at least.
    network: its own network on the device, which moves to and from host memory together with the pose head.
    """

    name: str
    revision: str
    find: Callable[[Engine, NDArray[np.uint8], float], Coroutine[Any, Any, Boxes]]
    network: nn.Module | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PoseHead:
    """A pose network with the server's defaults.

    finder: None if the server has none; the whole image is one person then.
    detector_threshold, keypoint_threshold: for requests that give none. max_persons: boxes of one request.
    """

    model: PoseModel
    finder: PersonFinder | None = None
    detector_threshold: float = 0.3
    keypoint_threshold: float = 0.3
    max_persons: int = 200
    backbone_revision: str = ""

    @property
    def name(self) -> str:
        """The network's name."""
        return self.model.name

    @property
    def revision(self) -> str:
        """Changes when any answer could: of the backbone, the network and the person finder."""
        revisions = [self.backbone_revision, self.model.revision]
        return "+".join([*revisions, self.finder.revision] if self.finder is not None else revisions)


def open_pose_head(
    backbone: Backbone,
    weights: Path | ModelEntry | None = None,
    *,
    name: str = "",
    crop_size: tuple[int, int] = PUBLISHED_SIZE,
    finder: PersonFinder | None = None,
    detector_threshold: float = 0.3,
    keypoint_threshold: float = 0.3,
    max_persons: int = 200,
) -> PoseHead:
    """The pose network in `weights`, its U-Net as a variant of the backbone; an added model's under its own name.

    name: of weights on a path, and of their variant. crop_size: (width, height) of a published network's crops.

    Raises ModelNotFound without weights, and ModelNotFound and CheckpointError as `open_pose` does.
    """
    if weights is None or not isinstance(backbone, StableDiffusion):
        raise ModelNotFound(
            "this server has no pose network for its backbone",
            hint="set DIFFSIGHT_POSE__CHECKPOINT to a folder of SDPose, or to one that `diffsight fit pose` wrote",
        )
    if isinstance(weights, ModelEntry):
        model = replace(open_pose(backbone, weights.weights, weights.name, size=crop_size), name=weights.name)
    else:
        model = open_pose(backbone, weights, name or "pose", size=crop_size)
        model = replace(model, name=name or model.name)
    revision = backbone.description.revision
    return PoseHead(model, finder, detector_threshold, keypoint_threshold, max_persons, revision)


def find_shipped_pose(backbone: Backbone) -> Path | None:
    """The folder of the network that ships for this backbone; None if none was fitted to it."""
    return POCKET if isinstance(backbone, StableDiffusion) and is_fitted_for(POCKET, backbone) else None


async def run_pose(
    engine: Engine, head: PoseHead, inputs: Inputs, options: PoseOptions, on_progress: object = None
) -> Poses:
    """Keypoints of persons in the request's boxes, else in the detector's boxes, else in the whole image as one person.

    Raises ModelNotFound if a detector is requested and the server has none, and InvalidInput for scores without boxes.
    """
    image = inputs.image
    height, width = image.shape[:2]
    size = (width, height)
    estimate = partial(estimate_poses, engine, head.model, image, crop=options.crop, flip_test=options.flip_test)
    detector = ""
    if options.boxes is not None:
        keypoints, problems = await _estimate_boxes(estimate, size, options.boxes, options.box_scores)
    elif options.persons == "whole_image" or (options.persons == "auto" and head.finder is None):
        keypoints, problems = await estimate(), ("",)
    else:
        finder = _require_finder(head)
        threshold = head.detector_threshold if options.detector_threshold is None else options.detector_threshold
        boxes, scores = await finder.find(engine, image, threshold)
        most = head.max_persons
        keypoints = await estimate(boxes[:most], box_scores=scores[:most].tolist(), boxes_from="detector")
        problems, detector = ("",) * len(keypoints.boxes), finder.name
    if options.points == "body":
        keypoints = keep_body(keypoints)
    return Poses(keypoints, problems, size, detector)


def _require_finder(head: PoseHead) -> PersonFinder:
    if head.finder is None:
        raise ModelNotFound(
            "this server has no person detector",
            hint="set DIFFSIGHT_POSE__DETECTOR, or send `boxes`, or persons=whole_image",
        )
    return head.finder


async def _estimate_boxes(
    estimate: Callable[..., Coroutine[Any, Any, Keypoints]],
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]],
    box_scores: Sequence[float] | None,
) -> tuple[Keypoints, tuple[str, ...]]:
    """Keypoints of the request's boxes, and the problem of each; the network does not run on bad boxes.

    size: (width, height) of the image.
    """
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    scores = np.ones(len(corners)) if box_scores is None else np.array(box_scores, dtype=np.float64)
    if len(scores) != len(corners):
        raise InvalidInput(
            "box_scores", f"{len(scores)} scores for {len(corners)} boxes", hint="send one score for each box"
        )
    problems = tuple(box_problem(box) or outside_problem(box, size) for box in corners)
    good = np.array([not problem for problem in problems], dtype=bool)
    keypoints = await estimate(corners[good], box_scores=scores[good].tolist())
    return _with_gaps(keypoints, corners, scores, good), problems


def _with_gaps(
    keypoints: Keypoints, boxes: NDArray[np.float64], scores: NDArray[np.float64], good: NDArray[np.bool_]
) -> Keypoints:
    """Keypoints of all boxes (N, 4) with scores (N,), in their order: NaN and 0 for those that were left out."""
    points = np.full((len(boxes), len(keypoints.names), 2), np.nan)
    point_scores = np.zeros(points.shape[:2], dtype=np.float32)
    points[good], point_scores[good] = keypoints.points, keypoints.scores
    return Keypoints(points, point_scores, boxes, scores, "caller", keypoints.names, keypoints.links)


def keep_body(keypoints: Keypoints) -> Keypoints:
    """The 17 points of the body, of 17 or 133."""
    return replace(
        keypoints,
        points=keypoints.points[:, :BODY_POINTS],
        scores=keypoints.scores[:, :BODY_POINTS],
        names=keypoints.names[:BODY_POINTS],
        links=tuple(link for link in keypoints.links if max(link) < BODY_POINTS),
    )


def complete_pose(options: PoseOptions, head: PoseHead, counts: InputCounts, limits: Limits) -> PoseOptions:
    """The options with the server's thresholds. Raises InvalidInput for boxes that one request cannot send."""
    count = len(options.boxes or ())
    if count > head.max_persons:
        raise InvalidInput("boxes", f"{count} boxes; one request takes {head.max_persons}", hint="send fewer")
    if options.box_scores is not None and len(options.box_scores) != count:
        raise InvalidInput(
            "box_scores", f"{len(options.box_scores)} scores for {count} boxes", hint="send one score for each box"
        )
    if options.boxes is not None and options.persons != "auto":
        raise InvalidInput(
            "persons", f"{options.persons!r} cannot be combined with boxes", hint="send either boxes or persons"
        )
    defaults = {
        name: getattr(head, name)
        for name in ("detector_threshold", "keypoint_threshold")
        if getattr(options, name) is None
    }
    return options.model_copy(update=defaults)


def answer_pose(poses: Poses, head: PoseHead, options: PoseOptions) -> PoseResult:
    """The persons, and what their points are."""
    return PoseResult(
        persons=answer_persons(poses, normalised=options.coordinates == "normalised"),
        boxes_from=poses.keypoints.boxes_from,
        detector=poses.detector,
        names=list(poses.keypoints.names),
        links=[list(link) for link in poses.keypoints.links],
        network=head.model.name,
        network_revision=head.model.revision,
    )


def pose_item(poses: Poses, head: PoseHead, options: PoseOptions) -> dict[str, Any]:
    """A job's persons of one image."""
    return {
        "persons": [person.model_dump() for person in answer_persons(poses)],
        "boxes_from": poses.keypoints.boxes_from,
        "names": list(poses.keypoints.names),
        "links": [list(link) for link in poses.keypoints.links],
        "keypoint_threshold": options.keypoint_threshold,
    }


def pose_line(poses: Poses) -> str:
    """How many persons, for people."""
    scores = ", ".join(f"{float(person.mean()):.2f}" for person in poses.keypoints.scores)
    count = len(poses.keypoints.scores)
    persons = f"{count} person{'s' if count != 1 else ''} by {poses.keypoints.boxes_from}"
    return persons + (f", mean point scores {scores}" if count else "")


def describe_pose(head: PoseHead) -> dict[str, Any]:
    """The network, its points and the server's thresholds."""
    return {
        "network": head.model.name,
        "revision": head.model.revision,
        "points": len(head.model.skeleton),  # their number, where the option of this name takes "all": as in 0.1
        "detector": head.finder.name if head.finder is not None else "",
        "detector_threshold": head.detector_threshold,
        "keypoint_threshold": head.keypoint_threshold,
    }


def check_drawable(form: str, options: PoseOptions, head: PoseHead) -> None:
    """Raises InvalidInput for a network whose points have no known skeleton."""
    if len(head.model.skeleton) not in (17, 133):
        raise InvalidInput("format", f"{form!r} needs COCO's 17 points or the 133", hint="send format=json")


TASK = Task(
    name="pose",
    summary="Estimate keypoints of persons",
    source="SDPose (arXiv:2509.24980)",
    inputs="image",
    options=PoseOptions,
    answer=PoseResult,
    open=open_pose_head,
    run=run_pose,
    to_answer=answer_pose,
    to_text=pose_line,
    to_item=pose_item,
    forms={
        "coco": Form(JSON, "COCO annotations", write=write_coco, answer=CocoPoses),
        "openpose_json": Form(
            JSON,
            "OpenPose's JSON",
            write=write_openpose_json,
            answer=OpenPosePeople,
            check=partial(check_drawable, "openpose_json"),
        ),
        "overlay": Form(
            PNG,
            "the image with skeletons over it",
            write=partial(write_skeletons, over_image=True),
            file_name="overlay.png",
            check=partial(check_drawable, "overlay"),
        ),
        "openpose": Form(
            PNG,
            "skeletons on black, the input of ControlNet",
            write=partial(write_skeletons, over_image=False),
            file_name="openpose.png",
            check=partial(check_drawable, "openpose"),
        ),
    },
    exports=frozenset({"coco", "label-studio", "cvat", "yolo", "openpose"}),
    complete=complete_pose,
    describe=describe_pose,
    request_only=frozenset({"coordinates"}),
    example={"boxes": [[2, 0, 12, 16]], "flip_test": False},
    curl="-F image=@team.jpg -F 'boxes=[[10,20,80,200],[90,25,70,190]]'",
    shipped=find_shipped_pose,
)
