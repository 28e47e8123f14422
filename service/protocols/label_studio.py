"""/label-studio: this server as an ML backend of Label Studio, for keypoints and masks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.dependencies import RequestUsage, State, while_connected
from service.engine.session import Session
from service.http.openapi import REFERENCE, keyed, not_ready, task_problems
from service.inputs.files import InputFiles
from service.inputs.request_body import read_body, validated
from service.jobs.formats.label_studio import mask_regions, pose_regions, score
from service.jobs.item import make_item
from service.protocols.label_studio_project import Control, Filling, image_file, prepare_controls, read_controls
from service.run_task import Terms, run_procedure
from service.state import AppState
from service.telemetry.usage import Usage
from service.threads import BODIES, run_in
from service.version import installed_version

router = APIRouter(prefix="/label-studio", tags=["Label Studio"])

# Whose images are in memory together.
_TASKS_AT_ONCE = 8

_CONFIG = (
    '<View><Image name="image" value="$image"/><KeyPointLabels name="kp" toName="image"><Label value="nose"/>'
    "</KeyPointLabels></View>"
)


class UpAnswer(BaseModel):
    """The backend answers."""

    status: Literal["UP"] = "UP"
    model_class: Literal["diffsight"] = "diffsight"


class SetupRequest(BaseModel):
    """A project, as Label Studio tells of it. What is not listed is not looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"project": "1.1700000000", "schema": _CONFIG}]})

    project: str = ""
    config: str = Field(alias="schema", max_length=200_000, description="The labelling configuration.")


class SetupAnswer(BaseModel):
    """What Label Studio will call the predictions."""

    model_version: str


class StudioTask(BaseModel):
    """One task."""

    id: int | str | None = None
    data: dict[str, Any]


class StudioContext(BaseModel):
    """What the annotator has drawn already."""

    result: list[dict[str, Any]] = []


class StudioParams(BaseModel):
    """Options of a call."""

    context: StudioContext | None = None


class PredictRequest(BaseModel):
    """Tasks to predict. What is not listed is not looked at."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tasks": [{"id": 1, "data": {"image": "/data/1.jpg"}}], "label_config": _CONFIG}]
        }
    )

    tasks: list[StudioTask] = Field(max_length=1000)
    label_config: str = Field(max_length=200_000)
    params: StudioParams | None = None


class StudioPrediction(BaseModel):
    """One task's prediction."""

    model_version: str
    score: float
    result: list[dict[str, Any]] = Field(description="Regions, coordinates in percent of the image.")
    error: str = Field(default="", description="Why there is none, where other tasks have theirs.")


class PredictAnswer(BaseModel):
    """One prediction a task, in their order."""

    results: list[StudioPrediction]


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=REFERENCE)
    content = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": schema["examples"][0]}
    return {
        "requestBody": {"required": True, "content": {"application/json": content}},
        "x-schemas": {model.__name__: schema},
    }


@router.get("/", summary="Is the ML backend up?", responses={**keyed(), **not_ready()})
@router.get("/health", summary="Is the ML backend up?", responses={**keyed(), **not_ready()}, include_in_schema=False)
async def label_studio_health(state: State) -> UpAnswer:
    """200 once the backbone is warm."""
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
    openapi_extra=_body(SetupRequest),
)
async def label_studio_setup(request: Request, state: State) -> SetupAnswer:
    """Whether this server can fill a project's controls."""
    _ = state.models.worker
    body = await run_in(BODIES, validated, SetupRequest, await read_body(request), state.settings.limits)
    controls = await run_in(BODIES, read_controls, body.config)
    async with prepare_controls(controls, state) as fillings:
        return SetupAnswer(model_version=_version(fillings))


@router.post(
    "/predict",
    summary="Predict tasks",
    response_model=PredictAnswer,
    responses=task_problems(),
    openapi_extra=_body(PredictRequest),
)
async def label_studio_predict(request: Request, state: State, usage: RequestUsage) -> PredictAnswer:
    """Keypoints in the rectangles that the annotator has drawn, else of all persons; masks by the names of brushes.

    An image that can not be read is a prediction without regions, and a problem where there is no other task.
    """
    _ = state.models.worker
    body = await run_in(BODIES, validated, PredictRequest, await read_body(request), state.settings.limits)
    controls = await run_in(BODIES, read_controls, body.label_config)
    async with prepare_controls(controls, state) as fillings:
        return await _predict(request, state, usage, body, fillings)


async def _predict(
    request: Request, state: AppState, usage: Usage, body: PredictRequest, fillings: Sequence[Filling]
) -> PredictAnswer:
    """The predictions of all tasks, a few of them at a time."""
    first = fillings[0].work.loaded.model
    drawn = body.params.context.result if body.params is not None and body.params.context is not None else []
    version = _version(fillings)

    async def predict(engines: Mapping[Backbone, Engine], task: StudioTask) -> StudioPrediction:
        try:
            file = await image_file(task.data.get(fillings[0].control.image), state, task_id=task.id)
            async with state.decoder.decoded([file], ["tasks"]) as (image,):
                results = [
                    await _fill_image(engines[filling.work.loaded.model], filling, image, drawn) for filling in fillings
                ]
        except InvalidInput as error:
            if len(body.tasks) == 1:
                raise
            return StudioPrediction(model_version=version, score=0.0, result=[], error=str(error))
        return StudioPrediction(
            model_version=version,
            score=sum(score(result) for result, _ in results) / len(results),
            result=[region for _, regions in results for region in regions],
        )

    async def predict_all(engine: Session, _: object) -> list[StudioPrediction]:
        places = asyncio.Semaphore(_TASKS_AT_ONCE)
        engines: dict[Backbone, Session] = {first: engine}

        async def predict_in_turn(task: StudioTask) -> StudioPrediction:
            async with places:
                return await predict(engines, task)

        with ExitStack() as others:
            for model in {filling.work.loaded.model for filling in fillings} - {first}:
                engines[model] = others.enter_context(state.models.worker.session("label-studio", backbone=model))
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(predict_in_turn(task)) for task in body.tasks]
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            usage.rows += sum(session.rows for session in engines.values() if session is not engine)
            return [task.result() for task in tasks]

    work = run_procedure(state, first, "label-studio", InputFiles(), predict_all, Terms(usage))
    return PredictAnswer(results=await while_connected(request, work))


@router.post("/webhook", status_code=201, summary="What Label Studio tells", responses=keyed())
async def label_studio_webhook() -> dict[str, Any]:
    """It is heard, and nothing is done: heads are fitted with `diffsight fit`, concepts kept with /v1/concepts."""
    return {}


def _version(fillings: Sequence[Filling]) -> str:
    tasks = "+".join(dict.fromkeys(filling.work.task.name for filling in fillings))
    return f"diffsight {installed_version()} {tasks} {fillings[0].work.revision[:12]}"


async def _fill_image(
    engine: Engine, filling: Filling, image: DecodedImage, drawn: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task's result on one image and its regions, under the project's own names."""
    control, work = filling.control, filling.work
    boxes = _boxes(drawn, image) if control.kind == "keypoints" else []
    options = work.options.model_copy(update={"boxes": boxes}) if boxes else work.options
    item = await make_item(engine, work, image, options)
    if control.kind == "masks":
        item["masks"] = [mask for mask in item["masks"] if mask["name"] in control.labels]
        return item, mask_regions(item, from_name=control.name, to_name=control.to_name)
    # Boxes that the annotator has drawn stay; their points stand beside them.
    regions = pose_regions(
        item,
        from_name=control.name,
        box_name="" if boxes else control.boxes,
        to_name=control.to_name,
        box_label=control.box_label,
    )
    return item, _rename_regions(regions, control, item["names"])


def _rename_regions(regions: Sequence[dict[str, Any]], control: Control, names: Sequence[str]) -> list[dict[str, Any]]:
    """The regions with the project's labels; points that it has no label for are left out."""
    places = {name: place for place, name in enumerate(names)}
    kept = []
    for region in regions:
        if region["type"] == "keypointlabels":
            (name,) = region["value"]["keypointlabels"]
            label = control.label_of(name, places[name])
            if label is None:
                continue
            region["value"]["keypointlabels"] = [label]
        kept.append(region)
    return kept


def _boxes(drawn: Sequence[dict[str, Any]], image: DecodedImage) -> list[list[float]]:
    """Rectangles that were drawn, in pixels. Raises InvalidInput for one that is none."""
    boxes = []
    for region in drawn:
        if region.get("type") != "rectanglelabels":
            continue
        try:
            x, y, width, height = (float(region["value"][name]) for name in ("x", "y", "width", "height"))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("params", f"a rectangle without {error}", hint="send x, y, width, height") from error
        scale = [image.width / 100, image.height / 100]
        boxes.append([x * scale[0], y * scale[1], width * scale[0], height * scale[1]])
    return boxes
