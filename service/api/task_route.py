"""The route handler of all tasks: three forms of a body in; JSON, a file or a stream of events out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, get_type_hints

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.inputs import describe_image
from heads.task import JSON, Form
from service.api.bodies import request_bodies
from service.api.formats import choose_format, file_response, wants_bytes
from service.api.operations import add_operations, form_alone
from service.api.schemas import (
    TimingAnswer,
    answer_model,
    describe_backbone,
    files_of,
    options_of,
    request_model,
    title_of,
)
from service.api.streams import Report, event_stream, events_response, wants_events
from service.dependencies import RequestUsage, State
from service.http.disconnects import while_connected
from service.http.openapi import REFERENCE, task_problems
from service.inputs.files import InputFiles, archive_paths, check_count
from service.inputs.request_body import ANY_BYTES, read_request
from service.run_task import Done, Work, prepare, run_task
from service.tasks import AnyTask
from service.telemetry.usage import Usage
from service.threads import ANSWERS, run_in

_EVENTS = (
    "A `progress` event each time the result improves, then one `answer` event with the same "
    "data as the JSON answer. If the work fails after the first event, the last event is a `problem`."
)


def task_routes(tasks: tuple[AnyTask, ...]) -> APIRouter:
    """A router with one route a task."""
    router = APIRouter()
    for task in tasks:
        add_task_route(router, task)
    return add_operations(router)


def add_task_route(router: APIRouter, task: AnyTask) -> None:
    """Serve a task at its route, and each form of its answer at a route below, with a document of all of it."""
    answer_type = answer_model(task)
    bodies = _document(task, request_model(task))
    add = partial(router.add_api_route, methods=["POST"], tags=[task.group or task.name])
    add(
        task.route,
        _handler(task),
        name=task.name,
        summary=task.summary,
        description=_describe(task),
        response_model=answer_type,
        responses=task_problems(),
        openapi_extra=bodies | {"x-task": _facts(task)},
    )
    for name, form in task.forms.items():
        add(
            f"{task.route}/{name}",
            _handler(task, form_name=name),
            name=f"{task.name}:{name}",
            summary=f"{task.summary} ({name})",
            description=f"The answer in another form: {form.about}.",
            openapi_extra=form_alone(bodies),
            **_answer_entries(form, answer_type),
        )
    if task.to_progress is not None:
        events = events_response(_EVENTS, progress=progress_model(task).__name__, answer=answer_type.__name__)
        add(
            f"{task.route}/events",
            _handler(task, events=True),
            name=f"{task.name}:events",
            summary=f"{task.summary} (events)",
            description="Sends each improved result as a server-sent event, then the answer.",
            response_class=Response,
            responses=events | task_problems(),
            openapi_extra=form_alone(bodies),
        )


def _handler(task: AnyTask, form_name: str = "", *, events: bool = False) -> Callable[..., Awaitable[Response]]:
    """The endpoint of a task.

    form_name, events: the form of the answer that the path fixes; else the request chooses.
    """
    request_type, answer_type = request_model(task), answer_model(task)
    from_path = _path_fields(task)
    said = {*from_path, "format"} if form_name or events else set(from_path)
    offered = {"json": JSON, **{name: form.media_type for name, form in task.forms.items()}}

    async def answer(request: Request, state: State, usage: RequestUsage) -> Response:
        _ = state.models.for_task(task)  # a request that no model serves fails before its body is read
        settings = state.settings
        body: Any = await read_request(request, request_type, settings.limits, fetch_urls=settings.urls.enabled)
        if clashing := said & body.model_fields_set:
            raise InvalidInput(min(clashing), "the path sets it already", hint="leave it out of the body")
        options = options_of(task, body).model_copy(update=request.path_params)
        files = files_of(task, body)
        check_count(files, settings.limits)
        usage.labels = len(getattr(options, "labels", None) or ())
        accept = request.headers.get("accept", "")
        form = task.forms.get(form_name or choose_format(getattr(body, "format", None), accept, offered))
        terms = body.terms(usage)

        async def run(report: Report | None = None) -> Done:
            async with prepare(
                state, task, options, files.counts(), model=body.model, seconds=terms.deadline_seconds
            ) as work:
                if form is not None and form.check is not None:
                    form.check(work.options, work.head)
                on_progress = None if report is None else progress_reporter(work, report)
                return await run_task(state, work, files, terms, on_progress)

        async def stream(report: Report) -> BaseModel:
            return build_answer(answer_type, await while_connected(request, run(report)), files, usage, None)

        if events or (task.to_progress is not None and not form_name and wants_events(request)):
            return await event_stream(request, stream)
        done = await while_connected(request, run())
        response = await run_in(ANSWERS, write_response, answer_type, done, files, usage, form)
        if form_name and form is not None and form.media_type != JSON and wants_bytes(accept, form.media_type):
            response.headers["Content-Type"] = ANY_BYTES
        return response

    return answer


def _path_fields(task: AnyTask) -> list[str]:
    """The options in the path."""
    return re.findall(r"\{(\w+)\}", task.route)


def progress_reporter(work: Work, report: Report) -> Callable[[Any], None]:
    """A function that the task calls with each intermediate result."""
    to_progress = work.task.to_progress
    assert to_progress is not None
    return lambda result: report(to_progress(result, work.head, work.options))


def build_answer(
    answer_type: type[BaseModel], done: Done, files: InputFiles, usage: Usage, form: Form | None
) -> BaseModel:
    """The task's own part of the answer, and how it was made."""
    work = done.work
    to_answer = work.task.to_answer if form is None or form.to_answer is None else form.to_answer
    result = to_answer(done.result, work.head, work.options)
    images = [describe_image(image) for image in done.inputs.images]
    own: dict[str, Any] = (
        {"images": images, "names": archive_paths(files.images)}
        if work.task.inputs == "images"
        else {"image": images[0]}
    )
    # Not validated: it comes from this program, and millions of numbers would take seconds.
    return answer_type.model_construct(
        **{
            "rows": usage.rows,
            **dict(result),
            **own,
            "backbone": describe_backbone(work.loaded.backbone),
            "timing": TimingAnswer(seconds=usage.round_seconds()),
        }
    )


def write_response(
    answer_type: type[BaseModel], done: Done, files: InputFiles, usage: Usage, form: Form | None
) -> Response:
    """The answer in the form that was chosen."""
    if form is None or form.write is None:
        content = build_answer(answer_type, done, files, usage, form).model_dump_json()
        return Response(content, media_type=JSON)
    headers = dict(form.headers(done.result)) if form.headers is not None else {}
    if form.file_name:
        disposition = "inline" if form.media_type.startswith("image/") else "attachment"
        headers["Content-Disposition"] = f'{disposition}; filename="{form.file_name}"'
    return Response(
        form.write(done.result, done.inputs, done.work.options), media_type=form.media_type, headers=headers
    )


def _describe(task: AnyTask) -> str:
    """Description of the route: the task, and the other forms of its answer."""
    text = f"{task.summary}: {task.source}."
    if task.forms:
        forms = "; ".join(f"`{name}`: {form.about}" for name, form in task.forms.items())
        text += f"\n\nOther forms of the answer: {forms}. The field `format` or the header `Accept` chooses one. "
        text += f"Each form also has a route of its own, such as `{task.route}/{next(iter(task.forms))}`."
    if task.to_progress is not None:
        text += "\n\nWith `Accept: text/event-stream`, the answer is a stream of server-sent events with results that "
        text += f"improve. `{task.route}/events` does the same."
    return text


def _answer_entries(form: Form, answer_type: type[BaseModel]) -> dict[str, Any]:
    """The document's entries on an answer in a form. Generated clients read files as `application/octet-stream`."""
    if form.media_type == JSON:
        return {"response_model": form.answer or answer_type, "responses": task_problems()}
    return {"response_class": Response, "responses": {**file_response(form.media_type), **task_problems()}}


def _facts(task: AnyTask) -> dict[str, Any]:
    """The properties of the task in GET /v1/models that are the same on every server.

    A page can read them without a key.
    """
    return {
        "task": task.name,
        "route": task.route,
        "summary": task.summary,
        "source": task.source,
        "inputs": task.inputs,
        "formats": ["json", *task.forms],
        "exports": sorted(task.exports),
    }


def _document(task: AnyTask, request_type: type[BaseModel]) -> dict[str, Any]:
    from_path = _path_fields(task)
    document = request_bodies(
        request_type, curl=task.curl, form_name=f"{title_of(task)}Form", hidden=[*from_path, "format"]
    )
    schema = task.options.model_json_schema()["properties"]
    document["parameters"] += [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": schema[name]["description"],
        }
        for name in from_path
    ]
    if task.to_progress is not None:
        progress = progress_model(task)
        document["x-schemas"][progress.__name__] = progress.model_json_schema(ref_template=REFERENCE)
    return document


def progress_model(task: AnyTask) -> type[BaseModel]:
    """The model of a progress event of the task, as the function that writes it is annotated."""
    model: type[BaseModel] = get_type_hints(task.to_progress)["return"]
    return model
