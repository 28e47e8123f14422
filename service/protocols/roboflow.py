"""/roboflow: the routes of Roboflow's inference server, as `InferenceHTTPClient("http://HOST/roboflow")` calls them."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import to_json
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.inputs import Inputs
from service.dependencies import RequestUsage, State
from service.http.openapi import EXAMPLE_IMAGE, foreign_problems, json_body
from service.inputs.files import ImageSource, InputFiles
from service.inputs.request_body import ImageBytes, fields_of, read_body
from service.protocols import roboflow_answers as answers
from service.protocols.calls import TaskCall, as_list, read_json, require_served, run_call
from service.protocols.roboflow_answers import Choice
from service.run_task import Done
from service.state import AppState
from service.tasks import find_task
from service.threads import ANSWERS, BODIES, LIBRARY, run_in
from service.version import read_version

router = APIRouter(prefix="/roboflow", tags=["Roboflow"])

_SERVER = str(uuid.uuid4())
_LOWEST = Annotated[float, Field(ge=0, le=1)]
_EXAMPLE_IMAGE: JsonDict = {"type": "base64", "value": EXAMPLE_IMAGE}
_EXAMPLE_BODY: JsonDict = {"image": _EXAMPLE_IMAGE}


class RoboflowImage(BaseModel):
    """One image."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["base64", "url"] = Field(description="`url` needs the server's setting `urls.enabled`.")
    value: ImageBytes


class RoboflowRequest(BaseModel):
    """Images and options. Other members are ignored."""

    model_config = ConfigDict(
        allow_inf_nan=False, protected_namespaces=(), json_schema_extra={"examples": [_EXAMPLE_BODY]}
    )

    image: Annotated[
        list[RoboflowImage],
        BeforeValidator(as_list, json_schema_input_type=list[RoboflowImage] | RoboflowImage),
        Field(min_length=1),
    ] = Field(description="One image, or a list of images. For a list, the answer is a list too.")
    model_id: str = Field(default="", max_length=300, description="Id of the model, from /roboflow/model/registry.")
    confidence: _LOWEST | Literal["best", "default"] | None = Field(
        default=None, description="Lowest confidence of a prediction. Unset, `best` or `default`: the server's setting."
    )
    keypoint_confidence: _LOWEST | None = Field(default=None, description="Lowest confidence of a keypoint.")
    class_filter: list[Annotated[str, Field(max_length=10_000)]] | None = Field(
        default=None, max_length=256, description="Classes to return. For `referring`: the expressions to find."
    )
    max_detections: int | None = Field(default=None, ge=0, description="Maximum number of predictions.")
    response_mask_format: Literal["polygon", "rle"] | None = Field(default=None, description="Unset: `polygon`.")
    depth_map_format: Literal["json", "png16", "png8"] = Field(default="json", description="Encoding of the depth map.")
    visualize_predictions: bool | None = Field(default=None, description="Whether to include a picture of the answer.")

    @property
    def images(self) -> list[ImageSource]:
        """Each image, in the order sent."""
        return [image.value for image in self.image]

    @property
    def least(self) -> float | None:
        """The requested lowest confidence, None for the server's own."""
        return self.confidence if isinstance(self.confidence, float) else None

    @property
    def choice(self) -> Choice:
        """The form of the answer."""
        return Choice(
            self.least,
            self.keypoint_confidence,
            self.class_filter or (),
            self.max_detections,
            self.response_mask_format or "polygon",
            self.depth_map_format,
        )


class ModelRequest(BaseModel):
    """A model to load or to unload. Other members are ignored."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_extra={"examples": [{"model_id": "pose"}]})

    model_id: str = Field(max_length=300)


class CompareRequest(BaseModel):
    """An image and texts to compare. Other members are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"subject": _EXAMPLE_IMAGE, "prompt": ["a zero", "a one"]}]}
    )

    subject: RoboflowImage
    subject_type: Literal["image"] = "image"
    prompt: Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=list[str] | str), Field(min_length=1)]
    prompt_type: Literal["text"] = "text"


class RegisteredModel(BaseModel):
    """A model."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str = Field(
        description="TASK, TASK/MODEL with the id of a model, or `classifier/ID` with the id of a classifier."
    )
    task_type: str


class RegisteredModels(BaseModel):
    """All models that `infer` accepts, with the type of their answer."""

    models: list[RegisteredModel]


def _pose(body: RoboflowRequest, version: str) -> dict[str, Any]:
    return {} if body.least is None else {"detector_threshold": body.least}


def _referring(body: RoboflowRequest, version: str) -> dict[str, Any]:
    if not body.class_filter:
        raise InvalidInput(
            "class_filter", "`referring` needs the expressions to find", hint='send ["the red cup"], for example'
        )
    return {"expressions": body.class_filter}


def _classifier(body: RoboflowRequest, version: str) -> dict[str, Any]:
    if not version:
        raise InvalidInput(
            "model_id", "the request names no classifier", hint="send classifier/ID, with the id of a classifier"
        )
    return {"classifier": version, "top": 10_000}


@dataclass(frozen=True, slots=True, eq=False)
class ModelKind:
    """A first part of model ids, and its form of the protocol's answers.

    task: of this server. route: below /roboflow/infer. task_type: the SDK's name; empty if the SDK has a method of its
    own. to_options: (body, the id's part after the slash) to the task's options. to_answer: (result, choice) to the
    members of the answer.
    """

    task: str
    route: str
    task_type: str
    to_options: Callable[[RoboflowRequest, str], Mapping[str, Any]]
    to_answer: Callable[[Done, Choice], dict[str, Any]]


def _nothing(body: RoboflowRequest, version: str) -> dict[str, Any]:
    return {}


KINDS: Mapping[str, ModelKind] = {
    "pose": ModelKind("pose", "keypoints_detection", "keypoint-detection", _pose, answers.keypoints),
    "persons": ModelKind("pose", "object_detection", "object-detection", _pose, answers.persons),
    "segmentation": ModelKind(
        "segmentation", "instance_segmentation", "instance-segmentation", _nothing, answers.segments
    ),
    "referring": ModelKind(
        "referring", "instance_segmentation", "instance-segmentation", _referring, answers.list_named_masks
    ),
    "classifier": ModelKind("classifier", "classification", "classification", _classifier, answers.classes),
    "semantic": ModelKind("segmentation", "semantic_segmentation", "", _nothing, answers.semantic),
    "depth": ModelKind("depth", "depth-estimation", "", _nothing, answers.depth),
}
_ROUTES: Mapping[str, tuple[str, str]] = {
    "keypoints_detection": ("pose", "Estimate keypoints of persons"),
    "object_detection": ("persons", "Detect persons"),
    "instance_segmentation": ("segmentation", "Segment classes, or what `class_filter` names"),
    "semantic_segmentation": ("semantic", "Segment an image into classes"),
    "classification": ("classifier", "Classify images by a fitted classifier"),
    "depth-estimation": ("depth", "Estimate depth"),
}
"""The first model of each route, the default for ids that name no model, and the route's summary."""


_INFERRED: Any = dict[str, Any] | list[dict[str, Any]]


@router.get("/info", summary="Get the server's name and version", responses=foreign_problems())
async def roboflow_info() -> dict[str, str]:
    """Name and version of the server, and an id that changes at each start."""
    return {"name": "diffsight", "version": read_version(), "uuid": _SERVER}


@router.get("/model/registry", summary="List models", responses=foreign_problems())
async def roboflow_registry(state: State) -> RegisteredModels:
    """Each task, each task with each model that serves it, and each fitted classifier."""
    return await run_in(LIBRARY, _registry, state)


@router.post(
    "/model/add",
    summary="Load a model now",
    response_model=RegisteredModels,
    responses=foreign_problems(),
    openapi_extra=json_body(ModelRequest),
)
async def roboflow_add(request: Request, state: State) -> RegisteredModels:
    """Answers when the model is loaded."""
    await state.models.load(await _read_model_name(request, state), state.settings.limits.deadline_seconds)
    return await run_in(LIBRARY, _registry, state)


@router.post(
    "/model/remove",
    summary="Unload a model",
    response_model=RegisteredModels,
    responses=foreign_problems(),
    openapi_extra=json_body(ModelRequest),
)
async def roboflow_remove(request: Request, state: State) -> RegisteredModels:
    """Also unloads all models that run on it. The next request loads the model again."""
    state.models.unload(await _read_model_name(request, state))
    return await run_in(LIBRARY, _registry, state)


async def _read_model_name(request: Request, state: AppState) -> str:
    _ = state.models.worker
    body = await read_json(state, await read_body(request), ModelRequest)
    name, _, version = body.model_id.partition("/")
    kind = KINDS.get(name)
    if kind is None:
        raise _refuse_model(body.model_id)
    model = None if kind.task == "classifier" else version or None
    return state.models.for_task(require_served(state, kind.task, model), model).id


def _registry(state: AppState) -> RegisteredModels:
    models = []
    for name, kind in KINDS.items():
        task = find_task(state.tasks, kind.task)
        if task is None or not kind.task_type:
            continue
        if kind.task == "classifier":
            ids = [f"{name}/{stored.id}" for stored in state.library.classifiers.list()]
        else:
            able = [slot.spec.id for slot in state.models.slots.values() if slot.may_serve(task)]
            ids = [name, *(f"{name}/{model_id}" for model_id in able)] if able else []
        models += [RegisteredModel(model_id=model_id, task_type=kind.task_type) for model_id in ids]
    return RegisteredModels(models=models)


@router.post(
    "/clip/compare",
    summary="Compare texts with an image",
    responses=foreign_problems(),
    openapi_extra=json_body(CompareRequest),
)
async def roboflow_compare(request: Request, state: State, usage: RequestUsage) -> dict[str, Any]:
    """`similarity` holds the probability of each text, in the order of the request. The probabilities sum to 1."""
    started = time.perf_counter()
    task = require_served(state, "zero-shot")
    body = await read_json(state, await read_body(request), CompareRequest)
    call = TaskCall(task, {"labels": body.prompt}, InputFiles([body.subject.value]))
    (done,) = await run_call(request, state, usage, call)
    return {"similarity": list(done.result.probabilities), **_common(started)}


def _add_infer(route: str, first: str, summary: str) -> None:
    async def infer(request: Request, state: State, usage: RequestUsage) -> Response:
        require_served(state, KINDS[first].task)
        body = await read_json(state, await read_body(request), RoboflowRequest)
        kind, version = _choose(route, first, request.path_params.get("model_id") or body.model_id)
        return await _infer(request, state, usage, body, kind, version)

    paths = {f"/infer/{route}": ""} | ({f"/infer/{route}/{{model_id:path}}": "_by_model"} if first == "depth" else {})
    for path, suffix in paths.items():
        router.add_api_route(
            path,
            infer,
            methods=["POST"],
            name=f"roboflow_{route.replace('-', '_')}{suffix}",
            summary=summary,
            response_model=_INFERRED,
            responses=foreign_problems(),
            openapi_extra={**json_body(RoboflowRequest), "parameters": _parameters("model_id") if suffix else []},
        )


def _parameters(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


async def _infer(
    request: Request, state: AppState, usage: RequestUsage, body: RoboflowRequest, kind: ModelKind, version: str
) -> Response:
    started = time.perf_counter()
    model = None if kind.task == "classifier" else version or None
    task = require_served(state, kind.task, model)
    call = TaskCall(task, kind.to_options(body, version), InputFiles(body.images), model)
    done = await run_call(request, state, usage, call)
    if task.inputs == "images":  # a classifier answers all images together
        (end,) = done
        images = [Inputs([image]) for image in end.inputs.images]
        done = [Done(end.work, [result], image) for result, image in zip(end.result, images, strict=True)]
    content = await run_in(ANSWERS, _write, body, kind, done, started)
    return Response(content, media_type="application/json")


def _choose(route: str, first: str, model_id: str) -> tuple[ModelKind, str]:
    """The kind of model that an id names on a route, and the part after the slash.

    Raises InvalidInput. On the depth route an id of Roboflow's own models, which SDKs send by default, means the
    route's first kind.
    """
    name, _, version = model_id.partition("/")
    if not name or (first == "depth" and name.startswith("depth-anything")):
        name, version = first, ""
    if name == KINDS[first].task:
        name = first
    kind = KINDS.get(name)
    if kind is None or kind.route != route:
        raise _refuse_model(model_id, [name for name, other in KINDS.items() if other.route == route])
    return kind, version


def _refuse_model(model_id: str, names: Sequence[str] = tuple(KINDS)) -> InvalidInput:
    hint = f"send one of {', '.join(names)}, alone or as in {names[0]}/ID with the id of a model"
    return InvalidInput("model_id", f"{model_id[:100]!r} is not a model of this server", hint=hint)


def _write(body: RoboflowRequest, kind: ModelKind, done: Sequence[Done], started: float) -> bytes:
    """The answer for one image, or a list of answers if a list was sent."""
    written = []
    for end in done:
        image = end.inputs.images[0]
        answer = {"image": {"width": image.width, "height": image.height}, **kind.to_answer(end, body.choice)}
        if body.visualize_predictions and "overlay" in end.work.task.forms:
            answer["visualization"] = _overlay(end)
        written.append({**_common(started), **answer})
    return to_json(written if len(written) > 1 else written[0])


def _overlay(done: Done) -> str:
    form = done.work.task.forms["overlay"]
    if form.check is not None:
        form.check(done.work.options, done.work.head)
    assert form.write is not None
    return base64.b64encode(form.write(done.result, done.inputs, done.work.options)).decode()


def _common(started: float) -> dict[str, Any]:
    return {"inference_id": str(uuid.uuid4()), "time": round(time.perf_counter() - started, 6)}


for _route, (_first, _summary) in _ROUTES.items():
    _add_infer(_route, _first, _summary)


@router.post(
    "/{project}/{version}",
    summary="Run a model on one image (older clients)",
    response_model=_INFERRED,
    responses=foreign_problems(),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "string"}}}},
        "parameters": [
            *_parameters("project", "version"),
            {"name": "confidence", "in": "query", "schema": {"type": "number", "minimum": 0, "maximum": 1}},
        ],
    },
)
async def roboflow_project(request: Request, state: State, usage: RequestUsage) -> Response:
    """The body is the image in base64. `project` is the first part of a model id, `version` the second: a model or
    a classifier.
    """
    project, version = request.path_params["project"], request.path_params["version"]
    kind = KINDS.get(project)
    if kind is None:
        raise _refuse_model(f"{project}/{version}")
    require_served(state, kind.task)
    sent = [(name, text) for name, text in request.query_params.multi_items() if name in RoboflowRequest.model_fields]
    image = {"type": "base64", "value": (await read_body(request)).decode("ascii", "replace").strip('"')}
    fields = await run_in(BODIES, fields_of, RoboflowRequest, sent, state.settings.limits)
    body = await read_json(state, {**fields, "image": image}, RoboflowRequest)
    return await _infer(request, state, usage, body, kind, version)
