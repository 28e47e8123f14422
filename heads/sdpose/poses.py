"""What the task `pose` is asked, and how the poses of an image are answered and written to files."""

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
    """Keypoints, and what is wrong with each box: empty texts for good ones. Points of bad boxes are NaN."""

    keypoints: Keypoints
    problems: tuple[str, ...]
    size: tuple[int, int]
    detector: str = ""


class PoseOptions(Options):
    """Where persons are, and how they are looked at."""

    boxes: list[Box] | None = Field(
        default=None,
        description="A box for each person: x, y, width, height in pixels of the upright image. The answer keeps their "
        "order. A box may reach outside the image; one that lies outside, or has no width or height, fails alone. "
        "An empty list means no persons.",
    )
    box_scores: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None, description="Scores of the boxes, one each, which come back and enter each person's score."
    )
    persons: Persons = Field(
        default="auto",
        description="Where boxes come from when none are sent: the server's detector, the whole image as one person, "
        "or the detector if there is one and else the whole image.",
    )
    detector_threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score of a detected person. Unset: the server's own."
    )
    keypoint_threshold: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Lowest score of a point that is drawn, or visible in COCO's form. Unset: the server's own.",
    )
    points: Literal["all", "body"] = Field(
        default="all", description="`body` answers the 17 of COCO alone, of a network with 133."
    )
    coordinates: Literal["pixels", "normalised"] = Field(
        default="pixels", description="`normalised` divides x and y of `json` by the image's width and height."
    )
    crop: Crop = Field(
        default="affine",
        description="`affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is "
        "what the published demo and the ComfyUI nodes do.",
    )
    flip_test: bool = Field(
        default=False, description="Also look at the mirrored person: a little more exact at twice the cost."
    )


class PersonAnswer(BaseModel):
    """One person."""

    bbox: list[float] = Field(description="x, y, width, height in pixels.")
    bbox_score: float = Field(description="1 for boxes without a score.")
    score: float = Field(description="The box's score times the mean of the point scores above 0.2.")
    keypoints: list[list[float]] = Field(description="x and y of each point, unclipped, in the order of `names`.")
    keypoint_scores: list[float] = Field(
        description="Maxima of heat maps: about 0 to 1, but they may pass 1 or be negative."
    )
    problem: str = Field(default="", description="Why this box was not looked at; its lists are empty then.")


class PoseResult(BaseModel):
    """The persons, in the order of their boxes, and what their points are."""

    persons: list[PersonAnswer]
    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str = Field(description="Name of the detector that found them; empty where none did.")
    names: list[str] = Field(description="One a point; left and right are the person's own.")
    links: list[list[int]] = Field(description="Pairs of points, counted from 0, that a drawing joins.")
    network: str
    network_revision: str = Field(description="Changes when any answer could.")


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
    """The answer as `format=coco`: one image with its persons in COCO's keypoint layout."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]] = Field(description="Of 133 points in COCO-WholeBody's five lists.")
    categories: list[dict[str, Any]]


def write_coco(poses: Poses, inputs: Inputs, options: PoseOptions) -> bytes:
    """One image with its persons in COCO's keypoint layout, as JSON."""
    width, height = poses.size
    image: dict[str, Any] = {"id": 1, "width": width, "height": height, "file_name": ""}
    annotations = coco_annotations(poses.keypoints, threshold=options.keypoint_threshold or 0.0)
    categories = [coco_category(poses.keypoints)]
    return CocoPoses(images=[image], annotations=annotations, categories=categories).model_dump_json().encode()


class OpenPosePeople(BaseModel):
    """The answer as `format=openpose_json`."""

    people: list[dict[str, list[float]]] = Field(description="x, y and score of each point, a flat list a part.")
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
