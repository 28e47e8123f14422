"""POST /v1/perceive: several tasks on one image, which is decoded and encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model
from pydantic_core import to_json
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.inputs import ImageAnswer, describe_image
from heads.task import JSON, Form
from service.api.bodies import request_bodies
from service.api.operations import add_operations
from service.api.schemas import (
    BackboneAnswer,
    TaskRequest,
    TimingAnswer,
    describe_backbone,
    title_of,
)
from service.dependencies import RequestUsage, State
from service.http.disconnects import while_connected
from service.http.openapi import EXAMPLE_IMAGE, REFERENCE, task_problems
from service.inputs.files import InputFiles
from service.inputs.request_body import ImageBytes, read_request, validate
from service.run_task import Done, prepare, run_together
from service.state import AppState
from service.tasks import AnyTask, find_task
from service.telemetry.usage import Usage
from service.threads import ANSWERS, run_in

# Names of tasks in version 0.1, which lists of tasks may still use.
_OLD_NAMES = {"zero_shot": "zero-shot", "few_shot": "few-shot"}
# Options beside a list of tasks, and the task of each.
_FLAT = {"scene": "depth", "expressions": "referring", "labels": "zero-shot", "timesteps": "features"}
_NEEDED = {"expressions": "referring", "labels": "zero-shot"}


class PerceiveRequest(TaskRequest):
    """An image, and the tasks to run on it. Each task has the options and defaults of its own route."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "tasks": {"features": {"timesteps": [100]}}}]}
    )

    image: ImageBytes
    tasks: dict[str, dict[str, Any]] | list[str] = Field(
        min_length=1,
        description='An object with the options of each task: `{"depth": {}, "referring": {"expressions": '
        '["the cup"]}}`. The option `format` can be any JSON form of the task, such as `polygons`. Or a list '
        "of task names; then `scene`, `expressions`, `labels`, `timesteps` and `mask_format` hold the options.",
    )
    scene: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        default=None, description="If `tasks` is a list: `scene` of `depth`."
    )
    expressions: list[Annotated[str, StringConstraints(max_length=10_000)]] | None = Field(
        default=None, min_length=1, max_length=64, description="If `tasks` is a list: `expressions` of `referring`."
    )
    labels: list[Annotated[str, StringConstraints(min_length=1, max_length=1000)]] | None = Field(
        default=None, min_length=1, description="If `tasks` is a list: `labels` of `zero-shot`."
    )
    timesteps: list[Annotated[int, Field(ge=0, le=100_000)]] | None = Field(
        default=None, min_length=1, max_length=64, description="If `tasks` is a list: `timesteps` of `features`."
    )
    mask_format: Literal["rle", "polygons"] | None = Field(
        default=None, description="If `tasks` is a list: how masks are encoded. Unset: `rle`."
    )


@dataclass(frozen=True, slots=True, eq=False)
class TaskPart:
    """One task of a request, its options checked.

    key: its name in the request. model: the model that it names. old: whether `tasks` is a list.
    """

    key: str
    task: AnyTask
    options: Any
    form: Form | None
    model: str | None
    old: bool


def perceive_route(tasks: tuple[AnyTask, ...]) -> APIRouter:
    """The router of /v1/perceive over these tasks."""
    router = APIRouter(tags=["perceive"])
    answer_type = _answer_model(tasks)

    @router.post(
        "/v1/perceive",
        summary="Run several tasks on one image",
        response_model=answer_type,
        responses=task_problems(),
        openapi_extra=_document(tasks),
    )
    async def perceive(request: Request, state: State, usage: RequestUsage) -> Response:
        """Runs several tasks on one image. The image is decoded and encoded once, and U-Net rows that several tasks
        need are computed once.
        """
        _ = state.models.worker  # NotReady is raised before the body is read
        settings = state.settings
        body = await read_request(request, PerceiveRequest, settings.limits, fetch_urls=settings.urls.enabled)
        parts = [_read_part(tasks, body, key, values, old=old) for key, values, old in read_parts(body, tasks)]
        done = await while_connected(request, _run_parts(state, parts, body, usage))
        first = done[parts[0].key]
        envelope = {
            "rows": usage.rows,
            "image": describe_image(first.inputs.images[0]),
            "backbone": describe_backbone(first.work.loaded.backbone),
            "timing": TimingAnswer(seconds=usage.round_seconds()),
        }
        content = await run_in(ANSWERS, lambda: to_json(_answer_parts(parts, done) | envelope))
        return Response(content, media_type=JSON)

    return add_operations(router)


def read_parts(body: PerceiveRequest, tasks: tuple[AnyTask, ...]) -> list[tuple[str, dict[str, Any], bool]]:
    """The name of each task in the request, its options, and whether `tasks` is a list.

    Raises InvalidInput for unknown or repeated names, and for a required option that is missing beside a list.
    """
    flat = {name: value for name in (*_FLAT, "mask_format") if (value := getattr(body, name)) is not None}
    if isinstance(body.tasks, dict):
        if flat:
            name = min(flat)
            hint = f'put it into the task\'s own options: {{"tasks": {{"{_FLAT.get(name, "segmentation")}": {{...}}}}}}'
            raise InvalidInput(name, "this field can only be used if `tasks` is a list", hint=hint)
        parts = [(key, dict(values), False) for key, values in body.tasks.items()]
    else:
        if len(set(body.tasks)) < len(body.tasks):
            raise InvalidInput("tasks", "a task is listed twice", hint="list each task once")
        names = [_OLD_NAMES.get(key, key) for key in body.tasks]
        for option, name in _NEEDED.items():
            if (option in flat) is not (name in names):
                hint = f"send {option} and the task {name}, or neither"
                raise InvalidInput(option, f"{option} and the task {name!r} must be sent together", hint=hint)
        parts = [(key, _flat_options(name, flat), True) for key, name in zip(body.tasks, names, strict=True)]
    for key, _, _ in parts:
        if find_task(tasks, _OLD_NAMES.get(key, key)) is None:
            choices = ", ".join(task.name for task in tasks)
            raise InvalidInput("tasks", f"{key[:100]!r} is not a task", hint=f"choose from {choices}")
    return parts


def _flat_options(task: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in flat.items() if _FLAT.get(name) == task}
    if flat.get("mask_format") == "polygons" and task in ("segmentation", "referring"):
        options["format"] = "polygons"
    return options


async def _run_parts(
    state: AppState, parts: Sequence[TaskPart], body: PerceiveRequest, usage: Usage
) -> dict[str, Done]:
    """The result of each part by its key.

    Parts of one backbone run together, and backbones one after the other, so no request holds one backbone while it
    waits for the memory of another.
    """
    by_backbone: dict[str, list[TaskPart]] = {}
    for part in parts:
        by_backbone.setdefault(state.models.for_task(part.task, part.model).backbone, []).append(part)
    done: dict[str, Done] = {}
    terms = body.terms(usage)
    for members in by_backbone.values():
        async with AsyncExitStack() as stack:
            prepared = [
                await stack.enter_async_context(
                    prepare(state, part.task, part.options, model=part.model, seconds=terms.deadline_seconds)
                )
                for part in members
            ]
            ends = await run_together(state, prepared, InputFiles([body.image]), terms)
            done |= {part.key: end for part, end in zip(members, ends, strict=True)}
    return done


def _read_part(
    tasks: tuple[AnyTask, ...], body: PerceiveRequest, key: str, values: dict[str, Any], *, old: bool
) -> TaskPart:
    """One task with its options. Raises RequestValidationError with the places of errors in them."""
    task = find_task(tasks, _OLD_NAMES.get(key, key))
    assert task is not None
    model = values.pop("model", body.model)
    if model is not None and not isinstance(model, str):
        raise InvalidInput(
            f"tasks.{key}.model", "it is not a string", hint="send the id of a model from GET /v1/models"
        )
    name = values.pop("format", "json")
    form = task.forms.get(name) if isinstance(name, str) else None
    if name != "json" and (form is None or form.to_answer is None):
        able = ["json", *(name for name, form in task.forms.items() if form.to_answer is not None)]
        raise InvalidInput(f"tasks.{key}.format", f"{name!r}"[:100], hint=f"send one of {', '.join(able)}")
    try:
        options = validate(task.options, values)
    except RequestValidationError as error:
        raise RequestValidationError(
            [{**detail, "loc": ("tasks", key, *detail["loc"])} for detail in error.errors()]
        ) from error
    return TaskPart(key, task, options, form, model, old)


def _answer_parts(parts: Sequence[TaskPart], done: Mapping[str, Done]) -> dict[str, Any]:
    """Each task's answer under its name in the request."""
    answers: dict[str, Any] = {}
    for part in parts:
        end = done[part.key]
        to_answer = part.task.to_answer if part.form is None else part.form.to_answer
        assert to_answer is not None
        answer = to_answer(end.result, end.work.head, end.work.options)
        old_fields = _old_fields(part.task.name, answer) if part.old else {}
        answers[part.key] = dict(answer) | old_fields if old_fields else answer
    return answers


def _old_fields(task: str, answer: Any) -> dict[str, Any]:
    """Additional fields of version 0.1 for requests with a list of tasks."""
    if task == "features":
        return {"vector": answer.vectors[0]}
    if task == "zero-shot":
        ranked = {label.label: label.probability for label in answer.posterior}
        return {"labels": list(ranked), "probabilities": list(ranked.values())}
    return {}


def _answer_model(tasks: tuple[AnyTask, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        task.name.replace("-", "_"): (task.answer | None, Field(default=None, alias=task.name)) for task in tasks
    }
    return create_model(
        "PerceiveAnswer",
        __doc__="The result of each task, under the task's name.",
        __config__=ConfigDict(extra="allow"),
        **fields,
        rows=(int, Field(description="Number of U-Net rows computed for all tasks together.")),
        image=(ImageAnswer, ...),
        backbone=(BackboneAnswer, ...),
        timing=(TimingAnswer, ...),
    )


def _document(tasks: tuple[AnyTask, ...]) -> dict[str, Any]:
    """The body's entry, with every task's options as a schema of its own."""
    properties = {task.name: {"$ref": REFERENCE.format(model=f"{title_of(task)}Options")} for task in tasks}
    either = [
        {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
    document = request_bodies(PerceiveRequest, curl='-F image=@room.jpg -F \'tasks={"depth": {}, "pose": {}}\'')
    in_json = document["x-schemas"]["PerceiveRequest"]["properties"]
    in_form = document["x-schemas"]["PerceiveForm"]["properties"]
    for place in (in_json, in_form):
        place["tasks"] = {"anyOf": either, "description": PerceiveRequest.model_fields["tasks"].description}
    for task in tasks:
        document["x-schemas"][f"{title_of(task)}Options"] = task.options.model_json_schema(ref_template=REFERENCE)
    return document
