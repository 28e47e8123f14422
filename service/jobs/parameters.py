"""A job's parameters: the options of its task, less those that only a single request has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backbones.errors import InvalidInput
from service.inputs.request_body import fields_of
from service.run_task import Work, prepare
from service.state import AppState
from service.tasks import AnyTask, find_task


def require_task(state: AppState, name: str) -> AnyTask:
    """The task of this name. Raises InvalidInput for another."""
    task = find_task(state.tasks, name)
    if task is None:
        known = ", ".join(task.name for task in state.tasks)
        raise InvalidInput("task", f"{name!r} is no task", hint=f"one of {known}")
    return task


def read_options(task: AnyTask, values: Mapping[str, Any] | Sequence[tuple[str, str]]) -> Any:
    """The task's options from JSON values, or from texts as a form has them. Raises InvalidInput."""
    model = task.options
    fields = dict(values) if isinstance(values, Mapping) else fields_of(model, values)
    known = [name for name in model.model_fields if name not in task.request_only]
    if refused := [name for name in fields if name in task.request_only]:
        hint = f"the parameters of {task.name} are {', '.join(known)}"
        raise InvalidInput(refused[0], "a job's results have one form for it", hint=hint)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or first.get("ctx", {}).get("field", "parameters")
        hint = f"the parameters of {task.name} are {', '.join(known)}"
        raise InvalidInput(place, f"{place}: {first['msg']}", hint=hint) from error


async def prepare_job(
    state: AppState, name: str, values: Mapping[str, Any] | Sequence[tuple[str, str]]
) -> tuple[Work, dict[str, Any]]:
    """The work on each image of a job, and its whole parameters as JSON values.

    What the server decides is filled in: a job's results do not change with its settings.
    Raises InvalidInput for parameters, and what `prepare` raises.
    """
    task = require_task(state, name)
    work = await prepare(state, task, read_options(task, values))
    return work, work.options.model_dump(mode="json", exclude=set(task.request_only))
