"""Calls of tasks by name, for tasks of a server that this client does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field

from diffsight_client.calls import ANY, EVENTS, JSON, Call
from diffsight_client.errors import BadInput
from diffsight_client.images import Image
from diffsight_client.models import Model, ModelsAnswer


class AnyAnswer(Model):
    """The answer, or an intermediate result, of any task: its fields are attributes, `model_dump()` returns all of
    them.
    """

    rows: int = Field(default=0)
    """Number of U-Net rows computed."""


def task_call(
    served: ModelsAnswer,
    name: str,
    images: Image | Iterable[Image] | None,
    options: Mapping[str, Any],
    *,
    format: str | None = None,
    stream: bool = False,
) -> Call[Any]:
    """The call of a task of the server. Raises BadInput for a task that it does not have.

    options: those of the task's route; values of `support_images` and `support_masks` are images. format: one of the
    task's `formats`, for an answer as a file; None for the JSON answer.
    """
    task = next((task for task in served.tasks if task.task == name), None)
    if task is None:
        names = ", ".join(task.task for task in served.tasks)
        raise BadInput(f"this server has no task {name!r}; it has {names}")
    route, fields, files = task.route, dict(options), {"images" if task.inputs == "images" else "image": images}
    for option in list(fields):
        if f"{{{option}}}" in route:
            route = route.replace(f"{{{option}}}", quote(str(fields.pop(option)), safe=""))
        elif option in ("support_images", "support_masks"):
            files[option] = fields.pop(option)
    read: Any = bytes if format else AnyAnswer.model_validate_json
    accept = EVENTS if stream else ANY if format else JSON
    return Call("POST", route, read, options=fields | {"format": format}, images=files, accept=accept)
