"""POST /v1/perceive: several tasks on one image, which is read and encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
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
from service.api.depth import DepthResult, depth_result
from service.api.segmentation import (
    ReferringResult,
    SegmentationResult,
    Text,
    referring_result,
    segmentation_result,
)
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.library.calibration import Way, choose_temperature
from service.models.loading import default_templates, service_of
from service.requests import ask

if TYPE_CHECKING:
    from backbones.engine import Engine
    from service.engine.session import Session
    from service.engine.shared_rows import Procedure
    from service.models.loading import Service

router = APIRouter(tags=["perceive"])

TaskName = Literal["depth", "segmentation", "referring", "features", "zero_shot"]


class PerceiveRequest(TaskRequest):
    """An image, and what to find out about it. Each task runs with its own route's defaults."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "tasks": ["features"], "timesteps": [100]}]}
    )

    image: ImageBytes
    tasks: list[TaskName] = Field(min_length=1, max_length=5, description="What to do, each once.")
    scene: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        default=None, description="Of `depth`: scene class of the published network."
    )
    expressions: list[Text] | None = Field(
        default=None, min_length=1, max_length=64, description="Of `referring`: what to find."
    )
    labels: list[Annotated[str, StringConstraints(min_length=1, max_length=1000)]] | None = Field(
        default=None, min_length=1, description="Of `zero_shot`: texts to choose from."
    )
    timesteps: list[Annotated[int, Field(ge=0, le=100_000)]] = Field(
        default=[100], min_length=1, max_length=64, description="Of `features`: noise levels to look at."
    )
    mask_format: Literal["rle", "polygons"] = Field(default="rle", description="How masks are written.")


class FeaturesResult(BaseModel):
    """Pooled features of one image, as `/v1/features` lays them out."""

    vector: list[float]
    blocks: list[str]
    timesteps: list[int]


class ZeroShotResult(BaseModel):
    """The label that fits best."""

    label: str
    labels: list[str]
    probabilities: list[float] = Field(description="In the order of `labels`.")
    calibrated: bool = Field(description="Whether the temperature was fitted to labelled images.")


class PerceiveAnswer(BaseModel):
    """The result of each task that was asked for."""

    depth: DepthResult | None = None
    segmentation: SegmentationResult | None = None
    referring: ReferringResult | None = None
    features: FeaturesResult | None = None
    zero_shot: ZeroShotResult | None = None
    rows: int = Field(description="U-Net rows spent, all tasks together.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/perceive",
    summary="Several tasks on one image",
    response_model=PerceiveAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(PerceiveRequest, curl="-F image=@room.jpg -F tasks=depth -F tasks=segmentation"),
)
async def perceive(request: Request) -> Response:
    """The image is decoded once, equal encodes and equal U-Net rows of the tasks are computed once."""
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    asked = await read_request(request, PerceiveRequest, service.settings.limits)
    check(asked, service)

    async def found(engine: Session, images: Sequence[DecodedImage]) -> tuple[dict[str, Any], DecodedImage, int]:
        from service.engine.shared_rows import perceive as run_together

        procedures: dict[str, Procedure] = {task: procedure(task, asked, service, images[0]) for task in asked.tasks}
        return await run_together(engine, procedures), images[0], engine.rows

    got, image, rows = await ask(
        request,
        "perceive",
        [asked.image],
        found,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    results: dict[str, Any] = await asyncio.to_thread(
        lambda: {task: result(task, asked, service, one) for task, one in got.items()}
    )
    answer = PerceiveAnswer(
        **results,
        rows=rows,
        image=image_answer(image),
        backbone=backbone_answer(service.engine.model.description),
        timing=timing_answer(request),
    )
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True))


def check(asked: PerceiveRequest, service: Service) -> None:
    """Raises InvalidInput for tasks that lack their options, ModelNotFound for those that lack their head."""
    if len(set(asked.tasks)) < len(asked.tasks):
        raise InvalidInput("tasks", "a task stands twice", hint="send each once")
    for task, option, given in (
        ("referring", "expressions", asked.expressions),
        ("zero_shot", "labels", asked.labels),
    ):
        if (given is None) == (task in asked.tasks):
            hint = f"send {option} and the task {task}, or neither"
            raise InvalidInput(option, f"{option} and the task {task!r} go together", hint=hint)
    if len(asked.labels or ()) > service.settings.limits.max_labels:
        raise InvalidInput("labels", f"one request takes {service.settings.limits.max_labels}", hint="send fewer")
    for task, head in (
        ("depth", service.dense.depth_head),
        ("segmentation", service.dense.segmentation_head),
        ("referring", service.dense.referring_head),
    ):
        if task in asked.tasks:
            head()


def procedure(task: str, asked: PerceiveRequest, service: Service, image: DecodedImage) -> Procedure:
    """What one task does, given an engine."""
    dense = service.dense

    async def depth(engine: Engine) -> Any:
        from heads.vpd.depth import predict_depth

        return await predict_depth(engine, image.array, dense.depth_head(), scene=asked.scene)

    async def segmentation(engine: Engine) -> Any:
        from heads.vpd.segmentation import predict_segmentation

        return await predict_segmentation(engine, image.array, dense.segmentation_head())

    async def referring(engine: Engine) -> Any:
        from heads.vpd.referring import predict_referring

        return await predict_referring(engine, image.array, dense.referring_head(), asked.expressions or [])

    async def features(engine: Engine) -> Any:
        from heads.feature_pooling.features import pooled_features

        return await pooled_features(engine, [image.array], timesteps=asked.timesteps)

    async def zero_shot(engine: Engine) -> Any:
        from heads.diffusion_classifier.classify import classify

        settings = service.settings
        way = Way(scheme="schedule", schedule="default")
        temperature, calibrated = choose_temperature(settings, service.calibration, way, None)
        return await classify(
            engine,
            image.array,
            asked.labels or [],
            templates=default_templates(settings),
            temperature=temperature,
            calibrated=calibrated,
        )

    return {
        "depth": depth, "segmentation": segmentation, "referring": referring, "features": features,
        "zero_shot": zero_shot,
    }[task]  # fmt: skip


def result(task: str, asked: PerceiveRequest, service: Service, got: Any) -> BaseModel:
    """One task's result as its part of the answer."""
    if task == "depth":
        return depth_result(got, service.dense.depth_head().name)
    if task == "segmentation":
        return segmentation_result(got, service.dense.segmentation_head().name, asked.mask_format)
    if task == "referring":
        masks, read = got
        return referring_result(masks, read, service.dense.referring_head().name, asked.mask_format)
    if task == "features":
        return FeaturesResult(vector=got.vectors[0].tolist(), blocks=list(got.blocks), timesteps=list(got.timesteps))
    return ZeroShotResult(
        label=got.label,
        labels=list(got.labels),
        probabilities=list(got.probabilities),
        calibrated=got.calibrated,
    )
