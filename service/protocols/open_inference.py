"""/v2: the Open Inference Protocol, as `tritonclient.http` speaks it. A task is a model, its models are versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict
from starlette.responses import Response

from backbones.errors import InvalidInput
from service.dependencies import RequestUsage, State
from service.http.openapi import EXAMPLE_IMAGE, foreign_problems, json_body
from service.inputs.files import ImageSource, InputFiles
from service.inputs.request_body import ImageBytes, fields_of, media_type_of, read_body, takes
from service.protocols.calls import TaskCall, read_json, require_served, run_call
from service.protocols.open_inference_models import (
    IMAGE_NAMES,
    PLATFORM,
    SUPPORTS,
    Output,
    default_outputs,
    describe_model,
    image_inputs,
    index_of,
    outputs_of,
)
from service.protocols.open_inference_tensors import (
    BYTES,
    HEADER,
    InputTensor,
    RequestedOutput,
    Tensor,
    read_tensors,
    split_body,
    write_outputs,
)
from service.run_task import Done
from service.settings.groups import LimitSettings
from service.state import AppState
from service.tasks import AnyTask, find_task
from service.threads import ANSWERS, BODIES, run_in
from service.version import read_version

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_EXTENSIONS = ("binary_tensor_data", "model_repository", "parameters")
_IMAGES: TypeAdapter[list[ImageSource]] = TypeAdapter(list[ImageBytes])
_EXAMPLE: JsonDict = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_IMAGE]}]}
_OF_TRITON = ("sequence_id", "sequence_start", "sequence_end")
_OWN = ("binary_data_output", "priority", "timeout", *_OF_TRITON)


class InferRequest(BaseModel):
    """Images and options of a task. Options that are lists can be tensors; all others are parameters."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(default="", max_length=1000, description="Id of the request. The answer has the same id.")
    inputs: list[InputTensor] = Field(min_length=1, max_length=64)
    outputs: list[RequestedOutput] = Field(
        default=[], max_length=64, description="Outputs to return. Unset: the default outputs of the model."
    )
    parameters: dict[str, Any] = Field(
        default={},
        description="Options of the task by name. Also: `priority` (1 is interactive, 2 or more is bulk "
        "work), `timeout` in microseconds, and `binary_data_output`, the default for outputs without "
        "`binary_data`.",
    )


class IndexRequest(BaseModel):
    """Which models to list."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": True}]})

    ready: bool = Field(default=False, description="List loaded models only.")


class RepositoryRequest(BaseModel):
    """Parameters of loading or unloading."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    parameters: dict[str, Any] = Field(
        default={},
        description="`unload_dependents` is accepted and has no effect: unloading a backbone always "
        "unloads all models that run on it.",
    )


@router.get("", summary="Get the server's name and version", responses=foreign_problems())
async def open_inference_server() -> dict[str, Any]:
    """Name and version of the server, and the protocol extensions that it supports."""
    return {"name": PLATFORM, "version": read_version(), "extensions": list(_EXTENSIONS)}


@router.get("/health/live", summary="Is the process alive?", responses=foreign_problems())
async def open_inference_live(state: State) -> dict[str, bool]:
    """The same as /health/live."""
    state.models.check_live()
    return {"live": True}


@router.get("/health/ready", summary="Is the server ready for requests?", responses=foreign_problems())
async def open_inference_ready(state: State) -> dict[str, bool]:
    """The same as /health/ready. The protocol names the member `live` here; the answer has both `live` and `ready`."""
    _ = state.models.worker
    return {"ready": True, "live": True}


@router.get("/models/{model}", summary="Get the tensors of a task", responses=foreign_problems())
async def open_inference_model(state: State, model: str) -> dict[str, Any]:
    """Inputs and outputs of the task. Its versions are the ids of the models that serve it, the default model
    first.
    """
    return describe_model(state, require_served(state, model), None)


@router.get("/models/{model}/versions/{version}", summary="Get the tensors of a task", responses=foreign_problems())
async def open_inference_model_version(state: State, model: str, version: str) -> dict[str, Any]:
    """Inputs and outputs of the task on the model that the version names."""
    return describe_model(state, require_served(state, model, version), version)


@router.get("/models/{model}/ready", summary="Is the task's default model loaded?", responses=foreign_problems())
async def open_inference_model_ready(state: State, model: str) -> dict[str, Any]:
    """Answers 503 if the model is not loaded. A request for the task loads it."""
    return _ready(state, model, None)


@router.get("/models/{model}/versions/{version}/ready", summary="Is this model loaded?", responses=foreign_problems())
async def open_inference_version_ready(state: State, model: str, version: str) -> dict[str, Any]:
    """Answers 503 if the model is not loaded. A request for the task loads it."""
    return _ready(state, model, version)


def _ready(state: AppState, name: str, version: str | None) -> dict[str, Any]:
    task = require_served(state, name, version)
    state.models.get_open(task, version)
    return {"name": task.name, "ready": True}


@router.post(
    "/repository/index",
    summary="List tasks with their models",
    response_model=list[dict[str, str]],
    responses=foreign_problems(),
    openapi_extra=json_body(IndexRequest, required=False),
)
async def open_inference_index(request: Request, state: State) -> list[dict[str, str]]:
    """Lists each pair of `name` (task) and `version` (model). A request for a model that is not READY loads it."""
    _ = state.models.worker
    body = await read_json(state, await read_body(request) or b"{}", IndexRequest)
    return index_of(state, ready=body.ready)


@router.post(
    "/repository/models/{model}/load",
    summary="Load a task's default model, or a model by its id",
    responses=foreign_problems(),
    openapi_extra=json_body(RepositoryRequest, required=False),
)
async def open_inference_load(request: Request, state: State, model: str) -> dict[str, Any]:
    """Answers when the model is READY."""
    await _read_repository(request, state)
    await state.models.load(_model_id(state, model), state.settings.limits.deadline_seconds)
    return {}


@router.post(
    "/repository/models/{model}/unload",
    summary="Unload a task's default model, or a model by its id",
    responses=foreign_problems(),
    openapi_extra=json_body(RepositoryRequest, required=False),
)
async def open_inference_unload(request: Request, state: State, model: str) -> dict[str, Any]:
    """Unloading a backbone also unloads all models that run on it, and with them other tasks. The next request
    loads the model again.
    """
    _ = state.models.worker
    await _read_repository(request, state)
    state.models.unload(_model_id(state, model))
    return {}


def _model_id(state: AppState, name: str) -> str:
    task = find_task(state.tasks, name)
    return name if task is None else state.models.for_task(task).id


async def _read_repository(request: Request, state: AppState) -> None:
    _ = state.models.worker
    body = await read_json(state, await read_body(request) or b"{}", RepositoryRequest)
    if refused := sorted(set(body.parameters) - {"unload_dependents"}):
        hint = "add it where the server runs: diffsight models add"
        raise InvalidInput(
            "parameters", f"models cannot be uploaded or changed by this route: {refused[0][:100]!r}", hint=hint
        )


_INFER: dict[str, Any] = {
    "summary": "Run a task",
    "response_model": None,
    "responses": {
        200: {
            "description": f"The outputs as JSON. If the answer has the header `{HEADER}`, its value is the "
            "length of the JSON in bytes, and binary data follows.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **foreign_problems(),
    },
    "openapi_extra": json_body(
        InferRequest,
        {
            "application/octet-stream": {
                "type": "string",
                "format": "binary",
                "description": "Outputs as JSON and binary data, see the request.",
            }
        },
    ),
}


@router.post("/models/{model}/infer", **_INFER)
async def open_inference_infer(request: Request, state: State, usage: RequestUsage, model: str) -> Response:
    """Runs the task on its default model."""
    return await _infer(request, state, usage, model, None)


@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def open_inference_infer_version(
    request: Request, state: State, usage: RequestUsage, model: str, version: str
) -> Response:
    """Runs the task on the model that the version names."""
    return await _infer(request, state, usage, model, version)


async def _infer(request: Request, state: State, usage: RequestUsage, name: str, version: str | None) -> Response:
    task = require_served(state, name, version)
    media_type_of(request)  # a compressed body is refused
    body, header = bytes(await read_body(request)), request.headers.get(HEADER)
    head, binary = split_body(body, header)
    request_body = await read_json(state, head, InferRequest)
    outputs = _choose_outputs(task, request_body)
    call = await run_in(BODIES, _read_call, task, request_body, binary, state, version)
    (done,) = await run_call(request, state, usage, call)
    return await run_in(ANSWERS, _write_answer, request_body, outputs, done)


def _choose_outputs(task: AnyTask, request_body: InferRequest) -> list[tuple[Output, bool]]:
    """The outputs of a request, and which of them are binary. Raises InvalidInput for an unknown output."""
    binary = request_body.parameters.get("binary_data_output") is True
    if not request_body.outputs:
        return [(output, binary) for output in default_outputs(task)]
    outputs = outputs_of(task)
    chosen = {}
    for requested in request_body.outputs:
        if requested.name not in outputs:
            raise InvalidInput(
                "outputs", f"{requested.name!r} is not an output", hint=f"choose from {', '.join(outputs)}"
            )
        if refused := sorted(set(requested.parameters) - {"binary_data"}):
            raise InvalidInput("outputs", f"{refused[0][:100]!r} is not supported", hint="request the whole tensor")
        chosen[requested.name] = (outputs[requested.name], requested.parameters.get("binary_data", binary) is True)
    return list(chosen.values())


def _read_call(
    task: AnyTask, request_body: InferRequest, binary: bytes, state: AppState, version: str | None
) -> TaskCall:
    """The call of a request. Raises InvalidInput, and RequestValidationError for images."""
    limits = state.settings.limits
    if sequence := [name for name in _OF_TRITON if request_body.parameters.get(name)]:
        raise InvalidInput(sequence[0], "no task here has sequences", hint="leave it out")
    files: dict[str, list[ImageSource]] = {}
    options: dict[str, Any] = {}
    for tensor in read_tensors(request_body.inputs, binary, limits):
        if tensor.name in files or tensor.name in options:
            raise InvalidInput(tensor.name, "it is sent twice", hint="send it once")
        if tensor.name in image_inputs(task):
            most = limits.max_shots if tensor.name in SUPPORTS else limits.max_images
            files[tensor.name] = _images(tensor, most, limits, fetch_urls=state.settings.urls.enabled)
        else:
            options[tensor.name] = _option(task, tensor)
    images = [image for name in IMAGE_NAMES for image in files.get(name, ())]
    if not images:
        raise InvalidInput(
            "image", "the request has no image", hint="send an input `image` of BYTES [1] or UINT8 [height, width, 3]"
        )
    if len(images) > 1 and task.inputs != "images":
        hint = "send a request for each image: requests share batches"
        raise InvalidInput("image", f"{len(images)} images; {task.name} takes one", hint=hint)
    for name, value in request_body.parameters.items():
        if name in options:
            raise InvalidInput(name, "it is an input and a parameter", hint="send one of them")
        if name not in _OWN:
            options[name] = value
    texts = [(name, value) for name, value in options.items() if isinstance(value, str)]
    options |= fields_of(task.options, texts, limits)
    return TaskCall(
        task,
        options,
        InputFiles(images, files.get(SUPPORTS[0], ()), files.get(SUPPORTS[1], ())),
        version,
        _number(request_body.parameters, "priority") > 1,
        _number(request_body.parameters, "timeout") / 1e6 or None,
    )


def _number(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidInput(name, "it is not a whole number of at least 0", hint="leave it out")
    return value


def _option(task: AnyTask, tensor: Tensor) -> Any:
    """An option's value: a list, or the only element if the option is not a list."""
    values: Any = tensor.values
    if tensor.datatype == BYTES:
        try:
            values = [value.decode() if isinstance(value, bytes) else value for value in values]
        except UnicodeDecodeError as error:
            raise InvalidInput(tensor.name, "it is not text in UTF-8", hint="encode it") from error
    if len(values) == 1 and not takes(task.options, tensor.name, list):
        return values[0] if isinstance(values, list) else values.item() if values.size == 1 else values.tolist()
    return values if isinstance(values, list) else values.tolist()


def _images(tensor: Tensor, most: int, limits: LimitSettings, *, fetch_urls: bool) -> list[ImageSource]:
    """The images of a tensor: files, or base64 if they came in JSON; or pixels. Raises InvalidInput."""
    count = len(tensor.values) if tensor.datatype == BYTES or len(tensor.shape) == 4 else 1
    if count > most:
        raise InvalidInput(tensor.name, f"{count:,} images; one request takes {most}", hint="send fewer")
    if isinstance(tensor.values, list):
        try:
            return _IMAGES.validate_python(tensor.values, context={"fetch_urls": fetch_urls})
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            named = [{**error, "loc": (tensor.name, *error["loc"])} for error in errors]
            raise RequestValidationError(named) from error
    if tensor.datatype != "UINT8" or len(tensor.shape) not in (3, 4) or tensor.shape[-1] != 3:
        message = f"{tensor.datatype} of the shape {list(tensor.shape)}"
        hint = "send files as BYTES [1], or red, green and blue as UINT8 [height, width, 3]"
        raise InvalidInput(tensor.name, message, hint=hint)
    pixels = tensor.values.reshape(-1, *tensor.shape[-3:]) if tensor.values.size else tensor.values[None][:0]
    if not len(pixels):
        raise InvalidInput(tensor.name, f"no pixels in {list(tensor.shape)}", hint="send one pixel at least")
    if pixels[0].size // 3 > limits.max_image_pixels:
        message = f"{pixels[0].size // 3:,} pixels; the limit is {limits.max_image_pixels:,}"
        raise InvalidInput(tensor.name, message, hint="scale it down first")
    return [_bitmap(image_pixels) for image_pixels in pixels]


def _bitmap(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (H, W, 3) uint8 RGB as a lossless file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def _write_answer(request_body: InferRequest, outputs: Sequence[tuple[Output, bool]], done: Done) -> Response:
    envelope = {"model_name": done.work.task.name, "model_version": done.work.loaded.id}
    if request_body.id:
        envelope["id"] = request_body.id
    arrays = {output.name: output.read(done) for output, _ in outputs}
    content, length = write_outputs(envelope, arrays, {output.name: binary for output, binary in outputs})
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, headers={HEADER: str(length)}, media_type="application/octet-stream")
