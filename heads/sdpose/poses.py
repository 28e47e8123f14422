"""Options and answers of the task `pose`, and the files that poses are written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, Field

from heads.inputs import Inputs
from heads.outputs import png_file
from heads.results import Keypoints
from heads.sdpose import openpose
from heads.sdpose.coco import coco_annotations, coco_category
from heads.sdpose.crops import Crop
from heads.sdpose.metrics import person_score
from heads.task import Options

Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Persons = Literal["auto", "detector", "whole_image"]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Keypoints, and the problem of each box: an empty text for a good box. Points of bad boxes are NaN."""

    keypoints: Keypoints
    problems: tuple[str, ...]
    size: tuple[int, int]
    detector: str = ""


class PoseOptions(Options):
    """Options of pose estimation."""

    boxes: list[Box] | None = Field(
        default=None,
        description="A box for each person: x, y, width, height in pixels of the upright image. The answer "
        "keeps their order. A box may reach beyond the image. A box that lies outside the image, or has no "
        "width or height, gets a `problem`, and the others are still processed. An empty list means no persons.",
    )
    box_scores: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None, description="Score of each box, 0 to 1. It is part of the person's score."
    )
    persons: Persons = Field(
        default="auto",
        description="Where boxes come from if the request has none. `detector`: the server's person "
        "detector. `whole_image`: the image is one person. `auto`: the detector if there is one, else the "
        "whole image.",
    )
    detector_threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score of a detected person. Unset: the server's setting."
    )
    keypoint_threshold: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Lowest score of a keypoint that is drawn, or marked as visible in COCO's format. "
        "Unset: the server's setting.",
    )
    points: Literal["all", "body"] = Field(
        default="all",
        description="`all`: all keypoints of the network. `body`: only COCO's 17, if the network has 133.",
    )
    coordinates: Literal["pixels", "normalised"] = Field(
        default="pixels",
        description="`pixels`: keypoints of `json` are in pixels. `normalised`: x and y are divided by the "
        "image's width and height.",
    )
    crop: Crop = Field(
        default="affine",
        description="How a person is cut out. `affine` enlarges the box by a quarter and keeps its aspect "
        "ratio, as for the published figures. `stretch` stretches the box to the network's input, as the "
        "published demo and the ComfyUI nodes do.",
    )
    flip_test: bool = Field(
        default=False,
        description="Also run the mirrored person, and average: a little more accurate at twice the cost.",
    )


class PersonAnswer(BaseModel):
    """One person."""

    bbox: list[float] = Field(description="Box of the person: x, y, width, height in pixels.")
    bbox_score: float = Field(description="Score of the box, 0 to 1. It is 1 for a box that was sent without a score.")
    score: float = Field(
        description="Score of the person: `bbox_score` times the mean of the keypoint scores above 0.2."
    )
    keypoints: list[list[float]] = Field(
        description="x and y of each point, in the order of `names`. Points may lie outside the image."
    )
    keypoint_scores: list[float] = Field(
        description="Score of each point: the maximum of its heat map. Mostly 0 to 1, but it can be "
        "negative or above 1."
    )
    problem: str = Field(default="", description="Why the box could not be used. The lists are then empty.")


class PoseResult(BaseModel):
    """The persons in the order of their boxes, and the names of their keypoints."""

    persons: list[PersonAnswer]
    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str = Field(description="Name of the detector that found the persons; empty if no detector ran.")
    names: list[str] = Field(description="Name of each keypoint. Left and right are seen from the person.")
    links: list[list[int]] = Field(description="Lines of the skeleton: pairs of indices of keypoints, counted from 0.")
    network: str
    network_revision: str = Field(
        description="Digest of the network's weights. If it is unchanged, answers are unchanged."
    )


def answer_persons(poses: Poses, *, normalised: bool = False) -> list[PersonAnswer]:
    """Each person as plain numbers; coordinates to a thousandth of a pixel."""
    keypoints = poses.keypoints
    scale, digits = (list(poses.size), 6) if normalised else ([1, 1], 3)
    return [
        PersonAnswer(
            bbox=keypoints.boxes[index].tolist(),
            bbox_score=float(keypoints.box_scores[index]),
            score=round(person_score(keypoints.scores[index], float(keypoints.box_scores[index])), 6),
            keypoints=[] if problem else (keypoints.points[index] / scale).round(digits).tolist(),
            keypoint_scores=[] if problem else [round(float(score), 6) for score in keypoints.scores[index]],
            problem=problem,
        )
        for index, problem in enumerate(poses.problems)
    ]


class CocoPoses(BaseModel):
    """Persons of one image as COCO keypoint annotations: the answer for `format=coco`."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]] = Field(
        description="One annotation for each person. Annotations with 133 keypoints use the five lists of "
        "COCO-WholeBody."
    )
    categories: list[dict[str, Any]]


def write_coco(poses: Poses, inputs: Inputs, options: PoseOptions) -> bytes:
    """One image with its persons in COCO's keypoint layout, as JSON."""
    width, height = poses.size
    image: dict[str, Any] = {"id": 1, "width": width, "height": height, "file_name": ""}
    annotations = coco_annotations(poses.keypoints, threshold=options.keypoint_threshold or 0.0)
    categories = [coco_category(poses.keypoints)]
    return CocoPoses(images=[image], annotations=annotations, categories=categories).model_dump_json().encode()


class OpenPosePeople(BaseModel):
    """The answer for `format=openpose_json`."""

    people: list[dict[str, list[float]]] = Field(
        description="Each person's parts, each a flat list x, y, score, x, y, score, ..."
    )
    canvas_width: int
    canvas_height: int


def write_openpose_json(poses: Poses, inputs: Inputs, options: PoseOptions) -> bytes:
    """The persons as OpenPose and ControlNet's tools write them."""
    width, height = poses.size
    return OpenPosePeople(**openpose.openpose_json(poses.keypoints, height, width)).model_dump_json().encode()


def write_skeletons(poses: Poses, inputs: Inputs, options: PoseOptions, *, over_image: bool) -> bytes:
    """Skeletons over the image, or on black as ControlNet takes them, as a PNG file."""
    width, height = poses.size
    threshold = options.keypoint_threshold or 0.0
    canvas = openpose.skeleton_picture(poses.keypoints, height, width, threshold=threshold)
    return png_file(Image.fromarray(openpose.overlay(inputs.image, canvas) if over_image else canvas))
