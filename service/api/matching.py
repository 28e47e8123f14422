"""POST /v1/match/image-text: how well each caption fits each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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

if TYPE_CHECKING:
    from service.engine.session import Session

router = APIRouter(tags=["classification"])

Caption = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class MatchRequest(TaskRequest):
    """Images, and the captions to match them with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE, EXAMPLE_IMAGE], "captions": ["a one", "a zero"]}]}
    )

    images: list[ImageBytes] = Field(min_length=1)
    captions: list[Caption] = Field(min_length=1, max_length=1000)
    interval: int = Field(
        default=20, ge=1, le=1000, description="Between the timesteps visited; 1 visits all 1,000, as published."
    )
    loss: Literal["l2", "l1", "huber"] = Field(
        default="l2", description="How the error of the predicted noise is measured."
    )


class WinogroundAnswer(BaseModel):
    """The three scores of one example, the first caption belonging to the first image. A tie is wrong."""

    text: bool = Field(description="Each image prefers its own caption.")
    image: bool = Field(description="Each caption prefers its own image, by the plain scores of the protocol.")
    group: bool


class MatchAnswer(BaseModel):
    """Scores of captions (outer lists) with images (inner ones); higher fits better."""

    scores: list[list[float]] = Field(description="Minus the mean error; comparable within an image only.")
    corrected_scores: list[list[float]] = Field(description="Less the empty prompt's; comparable between images too.")
    best_caption: list[int] = Field(description="For each image, the caption with the highest score.")
    best_image: list[int] = Field(description="For each caption, the image with the highest corrected score.")
    winoground: WinogroundAnswer | None = Field(description="With two captions and two images; else null.")
    timesteps: int
    rows: int = Field(description="U-Net rows spent.")
    images: list[ImageAnswer]
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/match/image-text",
    summary="Tell which caption fits which image",
    responses=task_problems(),
    openapi_extra=request_bodies(MatchRequest, curl="-F image=@a.jpg -F image=@b.jpg -F captions=one -F captions=two"),
)
async def match_image_text(request: Request) -> MatchAnswer:
    """The Winoground protocol of Diffusion Classifier (arXiv:2303.16203) for any number of captions and images."""
    service = service_of(request)
    steps = len(service.engine.model.description.alphas_cumprod)
    limits = service.settings.limits
    asked = await read_request(request, MatchRequest, limits)
    if len(asked.images) > limits.max_images:
        told = f"{len(asked.images)} images; one request takes {limits.max_images}"
        raise InvalidInput("images", told, hint="send them in several requests")

    from heads.diffusion_classifier.matching import match, matching_rows, verdicts

    rows = matching_rows(len(asked.captions), len(asked.images), min(asked.interval, steps), steps)
    if rows > limits.max_rows_per_request:
        raise InvalidInput(
            "interval",
            f"needs {rows:,} U-Net rows; one request takes {limits.max_rows_per_request:,}",
            hint="send a larger interval, or fewer captions or images",
        )

    async def matched(engine: Session, images: Sequence[DecodedImage]) -> MatchAnswer:
        found = await match(
            engine, [image.array for image in images], asked.captions, interval=asked.interval, loss=asked.loss
        )
        corrected, right = found.scores - found.baselines, verdicts(found.scores)
        return MatchAnswer(
            scores=found.scores.tolist(),
            corrected_scores=corrected.tolist(),
            best_caption=found.scores.argmax(axis=0).tolist(),
            best_image=corrected.argmax(axis=1).tolist(),
            winoground=None if right is None else WinogroundAnswer(**right),
            timesteps=found.timesteps,
            rows=found.rows,
            images=[image_answer(image) for image in images],
            backbone=backbone_answer(engine.backbone),
            timing=TimingAnswer(seconds={}),
        )

    answer = await ask(
        request,
        "match",
        asked.images,
        matched,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    return answer.model_copy(update={"timing": timing_answer(request)})
