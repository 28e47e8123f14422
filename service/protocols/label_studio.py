"""/label-studio: this server as an ML backend of Label Studio, for keypoints, masks and choices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import DeadlinePassed, DiffsightError, InvalidInput
from service.dependencies import RequestUsage, State
from service.engine.session import Session
from service.http.disconnects import while_connected
from service.http.openapi import json_body, key_problems, not_ready, task_problems
from service.inputs.files import InputFiles
from service.inputs.request_body import read_body, validate
from service.protocols.label_studio_images import StudioImages, studio_images
from service.protocols.label_studio_project import Filling, prepare_controls, read_controls, version_of
from service.protocols.label_studio_regions import fill_image, read_drawing
from service.run_task import Terms, run_procedure
from service.state import AppState
from service.telemetry.usage import Usage
from service.threads import BODIES, run_in

log = structlog.get_logger("diffsight")
Result = TypeVar("Result")

router = APIRouter(prefix="/label-studio", tags=["Label Studio"])

# Tasks whose images are in memory at the same time.
_TASKS_AT_ONCE = 8
# Most reasons for missing predictions that a log line lists.
_REASONS_LOGGED = 5

_CONFIG = (
    '<View><Image name="image" value="$image"/><KeyPointLabels name="kp" toName="image"><Label value="nose"/>'
    "</KeyPointLabels></View>"
)


class UpAnswer(BaseModel):
    """The ML backend is up."""

    status: Literal["UP"] = "UP"
    model_class: Literal["diffsight"] = "diffsight"


class SetupRequest(BaseModel):
    """A project of Label Studio. Other members are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"project": "1.1700000000", "schema": _CONFIG}]})

    project: str = ""
    config: str = Field(alias="schema", max_length=200_000, description="The labelling configuration, XML.")


class SetupAnswer(BaseModel):
    """The version under which Label Studio stores the predictions."""

    model_version: str


class StudioTask(BaseModel):
    """One task of Label Studio."""

    id: int | str | None = None
    data: dict[str, Any]
    drafts: Any = Field(default=None, description="Drafts: what annotators drew and did not submit.")
    annotations: Any = Field(default=None, description="Annotations that annotators submitted.")

    def regions(self) -> Iterator[Any]:
        """All regions of the drafts and annotations that were sent along."""
        for many in (self.drafts, self.annotations):
            for annotation in many if isinstance(many, list) else ():
                result = annotation.get("result") if isinstance(annotation, dict) else None
                yield from result if isinstance(result, list) else ()


class StudioContext(BaseModel):
    """Regions that the annotator drew for automatic annotation. The answer is limited to them."""

    result: list[dict[str, Any]] = []


class StudioParams(BaseModel):
    """Options of a call."""

    context: StudioContext | None = None


class PredictRequest(BaseModel):
    """Tasks to predict. Other members are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tasks": [{"id": 1, "data": {"image": "/data/1.jpg"}}], "label_config": _CONFIG}]
        }
    )

    tasks: list[StudioTask] = Field(max_length=10_000)
    label_config: str = Field(max_length=200_000)
    params: StudioParams | None = None


class StudioPrediction(BaseModel):
    """The prediction for one task."""

    model_version: str
    score: float
    result: list[dict[str, Any]] = Field(description="Regions, with coordinates in percent of the image.")
    error: str = Field(default="", description="Always empty here; a task without a prediction has the reason.")


class StudioFailure(BaseModel):
    """Why a task has no prediction. Because there is no `result`, Label Studio stores nothing, and requests the
    task again later.
    """

    error: str


class PredictAnswer(BaseModel):
    """One prediction for each task, in the same order."""

    results: list[StudioPrediction | StudioFailure]


@router.get("/", include_in_schema=False)
@router.get("/health", summary="Is the ML backend up?", responses={**key_problems(), **not_ready()})
async def label_studio_health(state: State) -> UpAnswer:
    """Answers 200 once the backbone is loaded and warmed up."""
    _ = state.models.worker
    return UpAnswer()


@router.get("/metrics", include_in_schema=False)
async def label_studio_metrics() -> dict[str, Any]:
    """Nothing: the server's own are at /metrics."""
    return {}


@router.post(
    "/setup",
    summary="Connect a project",
    response_model=SetupAnswer,
    responses=task_problems(),
    openapi_extra=json_body(SetupRequest),
)
async def label_studio_setup(request: Request, state: State) -> SetupAnswer:
    """Checks that this server can fill the project's controls."""
    _ = state.models.worker
    body = await run_in(BODIES, validate, SetupRequest, await read_body(request), state.settings.limits)
    controls = await run_in(BODIES, read_controls, body.config)
    async with prepare_controls(controls, state) as fillings:
        return SetupAnswer(model_version=version_of(fillings))


@router.post(
    "/predict",
    summary="Predict tasks",
    response_model=PredictAnswer,
    responses=task_problems(),
    openapi_extra=json_body(PredictRequest),
)
async def label_studio_predict(request: Request, state: State, usage: RequestUsage) -> PredictAnswer:
    """Predicts keypoints of all persons, masks by the names of brushes, and choices by their labels.

    With a context, it predicts only keypoints of rectangles that have none yet, and masks in place of brush strokes.

    If the image of a task cannot be read, or the task cannot be finished before Label Studio's time limit, it has a
    reason in `error` and no `result`. Label Studio requests it again later. If that is so for all tasks, the answer
    is a problem.
    """
    _ = state.models.worker
    started = asyncio.get_running_loop().time()
    content, limits = await read_body(request), state.settings.limits
    # Each task has two dozen names of values that are ignored.
    body = await run_in(BODIES, validate, PredictRequest, content, limits, values_per_name=1)
    controls = await run_in(BODIES, read_controls, body.label_config)
    async with prepare_controls(controls, state) as fillings, studio_images(state) as images:
        call = _Call(state, usage, fillings, images, body, started)
        return PredictAnswer(results=await while_connected(request, _predict(call)))


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One call for predictions. started: seconds of the loop's clock."""

    state: AppState
    usage: Usage
    fillings: Sequence[Filling]
    images: StudioImages
    body: PredictRequest
    started: float


async def _predict(call: _Call) -> list[StudioPrediction | StudioFailure]:
    """The predictions when all tasks are done, or when Label Studio's time limit ends.

    Raises InvalidInput if no image could be read, and DeadlinePassed if none was processed.
    """
    settings = call.state.settings
    seconds = min(settings.label_studio.answer_seconds, 0.95 * settings.limits.deadline_seconds)
    first = call.fillings[0].work.loaded.model

    async def predict_all(engine: Session, _: object) -> list[StudioPrediction | StudioFailure]:
        with ExitStack() as others:
            engines: dict[Backbone, Session] = {first: engine}
            for model in {filling.work.loaded.model for filling in call.fillings} - {first}:
                engines[model] = others.enter_context(call.state.models.worker.session("label-studio", backbone=model))
            try:
                return await _predict_until(call, engines, call.started + seconds)
            finally:
                call.usage.rows += sum(session.rows for session in engines.values() if session is not engine)

    predictions = await run_procedure(call.state, first, "label-studio", InputFiles(), predict_all, Terms(call.usage))
    failures = [
        (task.id, prediction.error)
        for task, prediction in zip(call.body.tasks, predictions, strict=True)
        if isinstance(prediction, StudioFailure)
    ]
    if failures:
        reasons = {str(task): reason for task, reason in failures[:_REASONS_LOGGED]}
        log.warning("tasks not predicted", tasks=len(predictions), failed=len(failures), reasons=reasons)
    return predictions


async def _predict_until(
    call: _Call, engines: Mapping[Backbone, Engine], end: float
) -> list[StudioPrediction | StudioFailure]:
    """The predictions of all tasks, a few at a time, until the loop's clock shows `end`."""
    places = asyncio.Semaphore(_TASKS_AT_ONCE)
    version = version_of(call.fillings)

    async def predict(task: StudioTask) -> StudioPrediction | InvalidInput:
        async with places:
            try:
                return await _predict_task(call, engines, task, version)
            except InvalidInput as error:
                return error

    results = await finish_until([asyncio.create_task(predict(task)) for task in call.body.tasks], end)
    late = DeadlinePassed(
        "it was not finished before Label Studio's time limit", hint="retrieve predictions again for the rest"
    )
    answers = [late if result is None else result for result in results]
    errors = [answer for answer in answers if isinstance(answer, DiffsightError)]
    if errors and len(errors) == len(answers):
        raise next((error for error in errors if isinstance(error, InvalidInput)), late)
    return [StudioFailure(error=str(answer)) if isinstance(answer, DiffsightError) else answer for answer in answers]


async def finish_until(tasks: Sequence[asyncio.Task[Result]], end: float) -> list[Result | None]:
    """The results of the tasks; None for tasks that are not done when the loop's clock shows `end`, which are
    cancelled. Raises the error of the first task that fails, and cancels the others.
    """
    if not tasks:
        return []
    try:
        left = max(0.0, end - asyncio.get_running_loop().time())
        done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
        return [task.result() if task in done else None for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _predict_task(
    call: _Call, engines: Mapping[Backbone, Engine], task: StudioTask, version: str
) -> StudioPrediction:
    """One task's prediction. Raises InvalidInput if its image cannot be read."""
    context = call.body.params.context if call.body.params is not None else None
    drawing = None if context is None else read_drawing(context.result, task.regions())
    file = await call.images.read(task.data.get(call.fillings[0].control.image), task_id=task.id)
    async with call.state.decoder.decoded([file], ["tasks"]) as (image,):
        regions, score = await fill_image(engines, call.fillings, image, drawing)
    return StudioPrediction(model_version=version, score=score, result=regions)


@router.post("/webhook", status_code=201, summary="Receive events of Label Studio", responses=key_problems())
async def label_studio_webhook() -> dict[str, Any]:
    """Accepts events and ignores them. To train heads use `diffsight fit`; to store concepts use /v1/concepts."""
    return {}
