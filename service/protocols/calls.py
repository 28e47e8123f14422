"""Run requests of foreign protocols with the same limits, deadlines and results as the task's route."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from backbones.errors import ModelNotFound
from heads.inputs import Inputs
from service.engine.session import Session
from service.http.disconnects import while_connected
from service.inputs.files import InputFiles, check_count
from service.inputs.request_body import validate
from service.run_task import Done, Terms, Work, prepare, run_procedure, run_task
from service.state import AppState
from service.tasks import AnyTask, find_task
from service.telemetry.usage import Usage
from service.threads import BODIES, run_in

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, eq=False)
class TaskCall:
    """A foreign request as a call of a task.

    options: the task's, as texts and JSON values. model: its id; None is the task's default. bulk, deadline_seconds: as
    in `Terms`.
    """

    task: AnyTask
    options: Mapping[str, Any]
    files: InputFiles
    model: str | None = None
    bulk: bool = False
    deadline_seconds: float | None = None


def as_list(value: Any) -> Any:
    """The value in a list, unless it is one: for members that take one value or several."""
    return value if isinstance(value, list) else [value]


def require_served(state: AppState, name: str, model: str | None = None) -> AnyTask:
    """The task of this name. Raises ModelNotFound if no model, or not this one, serves it, and NotReady."""
    _ = state.models.worker
    task = find_task(state.tasks, name)
    if task is None:
        names = ", ".join(task.name for task in state.tasks)
        raise ModelNotFound(f"this server has no model {name[:100]!r}", hint=f"its models are: {names}")
    state.models.for_task(task, model)
    return task


async def read_json(state: AppState, content: bytes | bytearray | Mapping[str, Any], model: type[Model]) -> Model:
    """A body, or the fields of one, as `model`. Raises as `validate` does."""
    settings = state.settings
    return await run_in(BODIES, validate, model, content, settings.limits, fetch_urls=settings.urls.enabled)


async def run_call(request: Request, state: AppState, usage: Usage, call: TaskCall) -> list[Done]:
    """The results: one for a task that takes its images together, else one an image, in their order.

    The request's body must have been read. Raises the errors of the task's own route.
    """
    task, files = call.task, call.files
    options = await run_in(BODIES, validate, task.options, call.options, state.settings.limits)
    check_count(files, state.settings.limits)
    usage.labels = len(getattr(options, "labels", None) or ())
    terms = Terms(usage, call.bulk, call.deadline_seconds)

    async def run() -> list[Done]:
        async with prepare(
            state, task, options, files.counts(), model=call.model, seconds=terms.deadline_seconds
        ) as work:
            if task.inputs == "images" or len(files.images) == 1:
                return [await run_task(state, work, files, terms)]
            return await _run_each(state, work, files, terms)

    return await while_connected(request, run())


async def _run_each(state: AppState, work: Work, files: InputFiles, terms: Terms) -> list[Done]:
    """The result for each image of a task that takes one image; their rows share batches."""

    async def procedure(session: Session, inputs: Inputs) -> list[Done]:
        parts = [Inputs([image], inputs.support_images, inputs.support_masks) for image in inputs.images]
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(_run_part(work, part, session)) for part in parts]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [Done(work, task.result(), part) for task, part in zip(running, parts, strict=True)]

    return await run_procedure(state, work.loaded.model, work.task.name, files, procedure, terms)


async def _run_part(work: Work, inputs: Inputs, session: Session) -> Any:
    return await work.procedure(inputs)(session)
