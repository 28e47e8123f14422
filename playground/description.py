"""The forms of a server, read from its /v1/models and its OpenAPI document. No task is known in advance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffsight_client import AccessDenied
from playground.options import Option, read_options
from playground.server import Server

FILE_PARTS = ("image", "images", "support_images", "support_masks", "masks")
_NOT_ASKED = (*FILE_PARTS, "format")
_LAST = ("model", "priority", "deadline_seconds")


@dataclass(frozen=True, slots=True)
class TaskForm:
    """One task as a form.

    route: with `{name}` for parameters in the path, which are options too. inputs: `image`, `images`, `image_supports`
    or `image_texts`. formats: forms of the answer. streams: whether it streams results. draws: whether the server can
    answer with a picture.
    """

    name: str
    route: str
    summary: str
    source: str
    inputs: str
    formats: tuple[str, ...]
    exports: tuple[str, ...]
    options: tuple[Option, ...]
    method: str
    streams: bool
    draws: bool

    @property
    def in_path(self) -> tuple[str, ...]:
        """Options in the path."""
        return tuple(re.findall(r"\{(\w+)\}", self.route))


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """The description of a server.

    version: of its software. tasks: in the server's order. lists: names of stored objects, such as `concepts`, whose
    ids GET /v1/NAME lists. fit: the form that fits a classifier, if the server has one.
    """

    version: str
    tasks: tuple[TaskForm, ...]
    lists: frozenset[str]
    fit: tuple[Option, ...]

    def list_of(self, option: Option) -> str | None:
        """The list of an option's possible values: `concepts` has one, and `classifier` as well."""
        return next((name for name in (option.name, f"{option.name}s") if name in self.lists), None)


def describe(server: Server) -> ServerDescription:
    """The server's current description. Raises ClientError, also while the server is not ready.

    Without a key, a server with keys returns only its document: then every task of the document has a form.
    """
    document = server.get_json("/openapi.json")
    try:
        models = server.get_json("/v1/models")
    except AccessDenied:
        models = {}
    return read_description(document, models.get("tasks"))


def read_description(
    document: Mapping[str, Any], served: Sequence[Mapping[str, Any]] | None = None
) -> ServerDescription:
    """The description of a server. document: OpenAPI. served: the tasks of /v1/models, None if they are not known."""
    paths = document["paths"]
    posts = {path: route["post"] for path, route in paths.items() if "post" in route}
    tasks = [post["x-task"] for post in posts.values() if "x-task" in post] if served is None else served
    lists = {
        path.removeprefix("/v1/") for path, route in paths.items() if re.fullmatch(r"/v1/\w+s", path) and "get" in route
    }
    fit = posts.get("/v1/classifiers")
    return ServerDescription(
        version=document["info"]["version"],
        tasks=tuple(_task_form(task, posts, document) for task in tasks if task["route"] in posts),
        lists=frozenset(lists - {"models", "jobs"}),
        fit=() if fit is None else _form_options(fit, document, ()),
    )


def _task_form(task: Mapping[str, Any], posts: Mapping[str, Any], document: Mapping[str, Any]) -> TaskForm:
    operation = posts[task["route"]]
    forms = [posts[path] for name in task["formats"] if (path := f"{task['route']}/{name}") in posts]
    in_path = [entry for entry in operation.get("parameters", ()) if entry["in"] == "path"]
    named = tuple(Option(entry["name"], "text", help=entry.get("description", ""), required=True) for entry in in_path)
    options = _form_options(operation, document, task.get("models", ()))
    return TaskForm(
        name=task["task"],
        route=task["route"],
        summary=task["summary"],
        source=task["source"],
        inputs=task["inputs"],
        formats=tuple(task["formats"]),
        exports=tuple(task["exports"]),
        options=(*named, *_with_server_values(options, task.get("defaults", {}))),
        method=re.sub(r"\W", "_", operation["operationId"]),
        streams=f"{task['route']}/events" in posts,
        draws=any("image/png" in form["responses"]["200"]["content"] for form in forms),
    )


def _form_options(
    operation: Mapping[str, Any], document: Mapping[str, Any], models: Sequence[str]
) -> tuple[Option, ...]:
    """The options of a route's form: first the required ones, last the ones that every request may have."""
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    options = read_options(schema, leave_out=_NOT_ASKED)
    plural = {option.name for option in options}
    options = tuple(option for option in options if f"{option.name}s" not in plural)
    if models:
        options = tuple(
            replace(option, kind="choice", choices=tuple(models)) if option.name == "model" else option
            for option in options
        )
    return tuple(sorted(options, key=lambda option: (option.name in _LAST, not option.required)))


def _with_server_values(options: Sequence[Option], defaults: Mapping[str, Any]) -> tuple[Option, ...]:
    """The options, with this server's defaults added to the help of those that the document leaves open."""
    return tuple(
        replace(option, help=f"{option.help} Here: `{defaults[option.name]}`.".lstrip())
        if option.default is None and option.name in defaults
        else option
        for option in options
    )
