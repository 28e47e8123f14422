"""The one route handler of every task: three forms of a body in, JSON, a file or a stream of events out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Union, get_type_hints

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.inputs import describe_image
from heads.task import JSON, Form
from service.api.bodies import request_bodies
from service.api.formats import choose_format
from service.api.schemas import (
    TimingAnswer,
    answer_model,
    describe_backbone,
    files_of,
    options_of,
    request_model,
)
from service.api.streams import Report, event_stream, events_response, wants_events
from service.dependencies import RequestUsage, State, while_connected
from service.http.openapi import REFERENCE, task_problems
from service.inputs.files import InputFiles, archive_paths
from service.inputs.request_body import read_request
from service.run_task import Done, Work, prepare, run_task
from service.state import AppState
from service.tasks import AnyTask
from service.telemetry.usage import Usage

_EVENTS = (
    "A `progress` event with the result so far each time it improves, then one `answer` event with what the JSON "
    "answer holds; or a `problem` event if it fails after the first of them."
)


def task_routes(tasks: tuple[AnyTask, ...]) -> APIRouter:
    """A router with one route a task."""
    router = APIRouter()
    for task in tasks:
        add_task_route(router, task)
    return router


def add_task_route(router: APIRouter, task: AnyTask) -> None:
    """Serve a task at its route, with a document that tells every option, form and problem of it."""
    request_type, answer_type = request_model(task), answer_model(task)
    from_path = re.findall(r"\{(\w+)\}", task.route)
    offered = {"json": JSON, **{name: form.media_type for name, form in task.forms.items()}}

    async def answer(request: Request, state: State, usage: RequestUsage) -> Response:
        _ = state.models.for_task(task)  # what this server cannot do is said before the body is read
        settings = state.settings
        body: Any = await read_request(request, request_type, settings.limits, fetch_urls=settings.urls.enabled)
        if clashing := set(from_path) & body.model_fields_set:
            raise InvalidInput(min(clashing), "the path says it already", hint="leave it out of the body")
        options = options_of(task, body).model_copy(update=request.path_params)
        files = files_of(task, body)
        check_count(files, state)
        usage.labels = len(getattr(options, "labels", None) or ())
        name = choose_format(getattr(body, "format", None), request.headers.get("accept", ""), offered)
        form = task.forms.get(name)
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

        if task.to_progress is not None and wants_events(request):
            return await event_stream(request, stream)
        done = await while_connected(request, run())
        return await asyncio.to_thread(write_response, answer_type, done, files, usage, form)

    router.add_api_route(
        task.route,
        answer,
        methods=["POST"],
        name=task.name,
        tags=[task.group or task.name],
        summary=task.summary,
        description=f"{task.summary}: {task.source}.",
        response_model=_response_model(task, answer_type),
        responses=_responses(task, answer_type),
        openapi_extra=_document(task, request_type, from_path),
    )


def check_count(files: InputFiles, state: AppState) -> None:
    """Raises InvalidInput for more images than one request may bring."""
    most = state.settings.limits.max_images
    if len(files.images) > most:
        raise InvalidInput("images", f"{len(files.images)} images; one request takes {most}", hint="send fewer")


def progress_reporter(work: Work, report: Report) -> Callable[[Any], None]:
    """What the task calls with each result so far."""
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
    # Nothing of it came from outside, and millions of numbers take seconds to check.
    return answer_type.model_construct(
        **{
            "rows": usage.rows,
            **dict(result),
            **own,
            "backbone": describe_backbone(work.loaded.backbone),
            "timing": TimingAnswer(seconds=usage.rounded()),
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


def _response_model(task: AnyTask, answer_type: type[BaseModel]) -> Any:
    documents = [form.answer for form in task.forms.values() if form.answer is not None]
    return Union[(answer_type, *documents)]


def _responses(task: AnyTask, answer_type: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    kinds = dict.fromkeys(form.media_type for form in task.forms.values() if form.media_type != JSON)
    content = {kind: {"schema": {"type": "string", "format": "binary", "contentMediaType": kind}} for kind in kinds}
    if task.to_progress is not None:
        content |= events_response(_EVENTS, progress=progress_model(task).__name__, answer=answer_type.__name__)[200][
            "content"
        ]
    return {200: {"content": content}, **task_problems()} if content else task_problems()


def _document(task: AnyTask, request_type: type[BaseModel], from_path: list[str]) -> dict[str, Any]:
    document = request_bodies(request_type, curl=task.curl, hidden=from_path)
    # What GET /v1/models tells of every server alike: a page can be built from this document before it has a key.
    document["x-task"] = {
        "task": task.name,
        "route": task.route,
        "summary": task.summary,
        "source": task.source,
        "inputs": task.inputs,
        "formats": ["json", *task.forms],
        "exports": sorted(task.exports),
    }
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
    """The model of what an event stream of the task tells, as the function that writes it is annotated."""
    model: type[BaseModel] = get_type_hints(task.to_progress)["return"]
    return model
