"""POST /v1/pose: the keypoints of each person in an image."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from backbones.errors import InvalidInput
from service.api.answers import (
    BackboneAnswer,
    ImageAnswer,
    TimingAnswer,
    backbone_answer,
    image_answer,
    timing_answer,
)
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.models.loading import service_of
from service.requests import ask
from service.settings.groups import PoseSettings

if TYPE_CHECKING:
    from heads.results import Keypoints
    from service.engine.session import Session
    from service.pose import FoundPoses

router = APIRouter(tags=["pose"])

JSON, PNG = "application/json", "image/png"
FORMATS = {"json": JSON, "coco": JSON, "openpose_json": JSON, "overlay": PNG, "openpose": PNG}

Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class PoseRequest(TaskRequest):
    """An image, and where its persons are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "boxes": [[2, 0, 12, 16]], "flip_test": False}]}
    )

    image: ImageBytes
    boxes: list[Box] | None = Field(
        default=None,
        description="A box for each person: x, y, width, height in pixels of the upright image. The answer has them in "
        "this order. They may reach outside; one without width or height fails alone. `[]` is nobody.",
    )
    box_scores: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None, description="Scores of the boxes, one each, which come back and enter each person's score."
    )
    persons: Literal["auto", "detector", "whole_image"] = Field(
        default="auto",
        description="Where boxes come from when none are sent: the server's detector, the whole image as one person, "
        "or the one where there is one and else the other.",
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
    crop: Literal["affine", "stretch"] = Field(
        default="affine",
        description="`affine` widens a box by a quarter and keeps its shape, as the published figures do; `stretch` is "
        "what the published demo and the ComfyUI nodes do.",
    )
    flip_test: bool = Field(
        default=False, description="Look at the mirrored person too: a little more exact at twice the cost."
    )
    format: Literal["json", "coco", "openpose_json", "overlay", "openpose"] | None = Field(
        default=None,
        description="`overlay`: the image with skeletons, PNG; `openpose`: skeletons on black as ControlNet takes "
        "them, PNG; `openpose_json`; `coco`: annotations. Default: by `Accept`, else `json`.",
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


class PoseAnswer(BaseModel):
    """The persons, in the order of their boxes, and what their points are."""

    persons: list[PersonAnswer]
    boxes_from: Literal["caller", "detector", "whole_image"]
    detector: str = Field(description="Name of the detector that found them; empty where none did.")
    names: list[str] = Field(description="One a point; left and right are the person's own.")
    links: list[list[int]] = Field(description="Pairs of points, counted from 0, that a drawing joins.")
    network: str
    network_revision: str = Field(description="Changes when any answer could.")
    rows: int = Field(description="U-Net rows spent.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


class CocoPoses(BaseModel):
    """The answer as `format=coco`: one image with its persons in COCO's keypoint layout."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]] = Field(description="Of 133 points in COCO-WholeBody's five lists.")
    categories: list[dict[str, Any]]


class OpenPosePeople(BaseModel):
    """The answer as `format=openpose_json`."""

    people: list[dict[str, list[float]]] = Field(description="x, y and score of each point, a flat list a part.")
    canvas_width: int
    canvas_height: int


@router.post(
    "/v1/pose",
    summary="Keypoints of the persons in an image",
    response_model=PoseAnswer | CocoPoses | OpenPosePeople,
    responses={200: {"content": {PNG: {"schema": {"type": "string", "contentMediaType": PNG}}}}, **task_problems()},
    openapi_extra=request_bodies(PoseRequest, curl="-F image=@team.jpg -F 'boxes=[[10,20,80,200],[90,25,70,190]]'"),
)
async def pose(request: Request) -> Response:
    """SDPose (arXiv:2509.24980): 17 points of the body, or 133 with feet, face and hands, by the network served."""
    from heads.outputs import choose_format

    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    network = service.poses.network()
    settings = service.settings.pose
    asked = await read_request(request, PoseRequest, service.settings.limits)
    check_boxes(asked, settings)
    form = choose_format(asked.format, request.headers.get("accept", ""), FORMATS)
    least = settings.detector_threshold if asked.detector_threshold is None else asked.detector_threshold
    threshold = settings.keypoint_threshold if asked.keypoint_threshold is None else asked.keypoint_threshold
    if form in ("overlay", "openpose", "openpose_json") and len(network.skeleton) not in (17, 133):
        raise InvalidInput("format", f"{form!r} needs COCO's 17 points or the 133", hint="send format=json")

    async def found(engine: Session, images: Sequence[DecodedImage]) -> tuple[FoundPoses, DecodedImage, int]:
        from service.pose import find_poses

        image = images[0]
        got = await find_poses(
            service.poses,
            engine,
            image.array,
            boxes=asked.boxes,
            box_scores=asked.box_scores,
            persons=asked.persons,
            detector_threshold=least,
            max_persons=settings.max_persons,
            crop=asked.crop,
            flip_test=asked.flip_test,
        )
        return got, image, engine.rows

    got, image, rows = await ask(
        request, "pose", [asked.image], found, bulk=asked.priority == "bulk", deadline_seconds=asked.deadline_seconds
    )
    keypoints = body_only(got.keypoints) if asked.points == "body" else got.keypoints
    if form == "json":
        finder = service.poses.finder
        answer = PoseAnswer(
            persons=person_answers(keypoints, got.problems, image, normalised=asked.coordinates == "normalised"),
            boxes_from=keypoints.boxes_from,
            detector=finder.name if finder is not None and keypoints.boxes_from == "detector" else "",
            names=list(keypoints.names),
            links=[list(link) for link in keypoints.links],
            network=network.name,
            network_revision=network.revision,
            rows=rows,
            image=image_answer(image),
            backbone=backbone_answer(service.engine.model.description),
            timing=timing_answer(request),
        )
        return Response(answer.model_dump_json(), media_type=JSON)
    return await asyncio.to_thread(written, form, keypoints, image, threshold)


def check_boxes(asked: PoseRequest, settings: PoseSettings) -> None:
    """Raises InvalidInput for more boxes than one request may send, and for scores without their boxes."""
    count = len(asked.boxes or ())
    if count > settings.max_persons:
        raise InvalidInput("boxes", f"{count} boxes; one request takes {settings.max_persons}", hint="send fewer")
    if asked.box_scores is not None and len(asked.box_scores) != count:
        raise InvalidInput("box_scores", f"{len(asked.box_scores)} scores for {count} boxes", hint="send one a box")
    if asked.boxes is not None and asked.persons != "auto":
        raise InvalidInput("persons", f"{asked.persons!r} beside boxes", hint="send boxes, or persons, not both")


def body_only(found: Keypoints) -> Keypoints:
    """The 17 points of the body, of 17 or 133."""
    from dataclasses import replace

    body = 17
    links = tuple(link for link in found.links if max(link) < body)
    return replace(
        found, points=found.points[:, :body], scores=found.scores[:, :body], names=found.names[:body], links=links
    )


def person_answers(
    found: Keypoints, problems: Sequence[str], image: DecodedImage, *, normalised: bool
) -> list[PersonAnswer]:
    """Each person as plain numbers; coordinates to a thousandth of a pixel."""
    from heads.sdpose.metrics import person_score

    scale, digits = ([image.width, image.height], 6) if normalised else ([1, 1], 3)
    return [
        PersonAnswer(
            bbox=found.boxes[index].tolist(),
            bbox_score=float(found.box_scores[index]),
            score=round(person_score(found.scores[index], float(found.box_scores[index])), 6),
            keypoints=[] if problem else (found.points[index] / scale).round(digits).tolist(),
            keypoint_scores=[] if problem else [round(float(score), 6) for score in found.scores[index]],
            problem=problem,
        )
        for index, problem in enumerate(problems)
    ]


def written(form: str, found: Keypoints, image: DecodedImage, threshold: float) -> Response:
    """The answer in one of the other forms."""
    from PIL import Image

    from heads.outputs import png_file
    from heads.sdpose import openpose
    from heads.sdpose.coco import coco_annotations, coco_category

    if form == "coco":
        picture: dict[str, Any] = {"id": 1, "width": image.width, "height": image.height, "file_name": ""}
        annotations = coco_annotations(found, threshold=threshold)
        return JSONResponse({"images": [picture], "annotations": annotations, "categories": [coco_category(found)]})
    if form == "openpose_json":
        return JSONResponse(openpose.openpose_json(found, image.height, image.width))
    canvas = openpose.skeleton_picture(found, image.height, image.width, threshold=threshold)
    shown = canvas if form == "openpose" else openpose.overlay(image.array, canvas)
    named = {"Content-Disposition": f'inline; filename="{form}.png"'}
    return Response(png_file(Image.fromarray(shown)), media_type=PNG, headers=named)
