"""A job's parameters: the options of its task, without those that only a single request has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backbones.errors import InvalidInput
from service.inputs.request_body import fields_of
from service.run_task import prepare
from service.state import AppState
from service.tasks import AnyTask, find_task


def require_task(state: AppState, name: str) -> AnyTask:
    """The task of this name. Raises InvalidInput for another."""
    task = find_task(state.tasks, name)
    if task is None:
        names = ", ".join(task.name for task in state.tasks)
        raise InvalidInput("task", f"{name!r} is not a task", hint=f"send one of {names}")
    return task


def read_options(task: AnyTask, values: Mapping[str, Any] | Sequence[tuple[str, str]]) -> Any:
    """The task's options from JSON values, or from texts as a form has them. Raises InvalidInput."""
    model = task.options
    fields = dict(values) if isinstance(values, Mapping) else fields_of(model, values)
    names = [name for name in model.model_fields if name not in task.request_only]
    if refused := [name for name in fields if name in task.request_only]:
        hint = f"the parameters of {task.name} are {', '.join(names)}"
        raise InvalidInput(refused[0], "jobs do not have this option", hint=hint)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or first.get("ctx", {}).get("field", "parameters")
        hint = f"the parameters of {task.name} are {', '.join(names)}"
        raise InvalidInput(place, f"{place}: {first['msg']}", hint=hint) from error


MODEL = "model"
"""A parameter of every job that is not an option of its task: the id of the model to run on."""


def take_model(
    values: Mapping[str, Any] | Sequence[tuple[str, str]],
) -> tuple[str | None, Mapping[str, Any] | Sequence[tuple[str, str]]]:
    """The model in a job's parameters, and the other parameters. Raises InvalidInput if the model is not a text."""
    pairs = dict(values)
    model = pairs.get(MODEL)
    if model is not None and not isinstance(model, str):
        raise InvalidInput(MODEL, "it is not a string", hint="send the id of a model from GET /v1/models")
    if isinstance(values, Mapping):
        return model, {name: value for name, value in values.items() if name != MODEL}
    return model, [(name, value) for name, value in values if name != MODEL]


async def complete_parameters(
    state: AppState, name: str, values: Mapping[str, Any] | Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """A job's whole parameters as JSON values.

    Values that the server chooses are filled in, so that later changes of its settings do not change the results.
    Raises InvalidInput for parameters, and what `prepare` raises.
    """
    task = require_task(state, name)
    model, options = take_model(values)
    async with prepare(state, task, read_options(task, options), model=model) as work:
        complete: dict[str, Any] = work.options.model_dump(mode="json", exclude=set(task.request_only))
        return complete | ({} if model is None else {MODEL: model})
