"""A task as one object. Its route, jobs, command, part of /v1/perceive and every foreign protocol use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from backbones.backbone import Description
from backbones.errors import InvalidInput
from heads.inputs import InputCounts, InputKind, Inputs

H = TypeVar("H")
O = TypeVar("O", bound=BaseModel)  # noqa: E741
R = TypeVar("R")

JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"


class Options(BaseModel):
    """The options of a task, with bounds, defaults and descriptions. Images and priority are not options."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True, eq=False)
class BackboneHead:
    """The backbone itself as the head of a task that needs no weights of its own."""

    backbone: Description

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.backbone.name

    @property
    def revision(self) -> str:
        """The backbone's revision."""
        return self.backbone.revision


def is_none(value: object) -> bool:
    """For `exclude_if`: fields of an answer that are left out if they are None."""
    return value is None


class CommaSeparated:
    """Marks a list of texts that the command line takes as one value with commas: `--labels cat,dog`."""


class Limits(Protocol):
    """Bounds on one request."""

    @property
    def max_labels(self) -> int: ...
    @property
    def max_prompts(self) -> int: ...
    @property
    def max_tree_labels(self) -> int: ...
    @property
    def max_shots(self) -> int: ...
    @property
    def max_rows_per_request(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A form of a result other than the plain answer as JSON.

    media_type: of what is written. about: one line for the API's description. answer: the model of a JSON document.
    file_name: what a browser calls the file. headers: (result) to HTTP headers with facts that the bytes do not hold.
    write: (result, inputs, options) to the bytes of a file; None for a form that is an answer.
    to_answer: (result, head, options) to another answer, which gets the same envelope as the plain one.
    check: (options, head); raises InvalidInput, before any work, if the form cannot hold the result.
    """

    media_type: str
    about: str
    write: Callable[[Any, Inputs, Any], bytes] | None = None
    to_answer: Callable[[Any, Any, Any], BaseModel] | None = None
    file_name: str = ""
    headers: Callable[[Any], Mapping[str, str]] | None = None
    check: Callable[[Any, Any], None] | None = None
    answer: type[BaseModel] | None = None


def keep_options(options: O, head: Any, counts: InputCounts, limits: Limits) -> O:
    """The options as they are: for tasks whose every option is bounded by its model."""
    return options


def no_weights(backbone: Any) -> Path | None:
    """For tasks that ship no weights."""
    return None


def check_rows(rows: int, limits: Limits, field: str, what: str, hint: str) -> None:
    """Raises InvalidInput for more U-Net rows than one request may take. what: how the message begins."""
    if rows > limits.max_rows_per_request:
        message = f"{what} {rows:,} U-Net rows; one request takes {limits.max_rows_per_request:,}"
        raise InvalidInput(field, message, hint=hint)


def describe_nothing(head: Any) -> Mapping[str, Any]:
    """For tasks whose head has no properties to report."""
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Task(Generic[H, O, R]):
    """One task.

    name: its one spelling, in the route, the job, the metric label and the command.
    summary, source: "Metric depth of an image"; "VPD (arXiv:2303.02153)".
    options: model of the options. answer: model of the answer's part that is the task's own.
    open: (backbone, weights, **model options) to the head, which has a `name` and a `revision` that changes when any
    answer could. Adds the head's U-Net variant to the backbone.
    Raises ModelNotFound if the task needs weights and has none, or does not go with the backbone. A task with published
    models also takes `name`, which the head and its variant have where `weights` is a path.
    run: (engine, head, inputs, options, on_progress) to a typed result in the image's own pixels.
    to_answer: (result, head, options) to the answer.
    group: the route's path before the name: "classify" gives /v1/classify/NAME. path: the whole path below /v1 where
    the route has parameters.
    forms: further ways to write the result, by name. exports: job formats that have a place for it.
    complete: (options, head, counts, limits) to the options with all defaults that the model decides filled in, so that
    a job's results do not change with the server's settings.
    Raises InvalidInput, before any work, for what the head or the limits do not allow.
    estimate_rows: (options, head as `run` gets it) to U-Net rows an image, at most. least_rows: those that it takes in
    any case.
    prepare: (opened head, options, library) to the head that `run` gets, which also holds objects of clients, such as
    the concepts that the options name. Reads files. Without it, `run` gets the opened head.
    made_on: (options, library) to the revision of the backbone that what the options name was made on, which a request
    that names no model then runs on; None for any.
    to_item: (result, head, options) to a job's result of one image; the answer itself if it is None.
    to_progress: (result so far, head, options) to what an event stream tells; None if the task has no progress.
    to_text: (result) to one line for people.
    describe: (head) to what GET /v1/models tells beside the options' defaults.
    request_only: options that only a single request has. example: a request's JSON, its images left out.
    curl: form options of the API's example. shipped: (backbone) to the weights that ship for it, None if none do.
    """

    name: str
    summary: str
    source: str
    inputs: InputKind
    options: type[O]
    answer: type[BaseModel]
    open: Callable[..., Any]
    run: Callable[[Any, H, Inputs, O, Callable[[R], None] | None], Awaitable[R]]
    to_answer: Callable[[R, H, O], BaseModel]
    to_text: Callable[[R], str]
    group: str = ""
    path: str = ""
    forms: Mapping[str, Form] = field(default_factory=lambda: MappingProxyType({}))
    exports: frozenset[str] = frozenset()
    complete: Callable[[O, Any, InputCounts, Limits], O] = keep_options
    estimate_rows: Callable[[O, Any], int] | None = None
    least_rows: Callable[[O, Any], int] | None = None
    prepare: Callable[[Any, O, Any], H] | None = None
    made_on: Callable[[O, Any], str | None] | None = None
    to_item: Callable[[R, H, O], Mapping[str, Any]] | None = None
    to_progress: Callable[[R, H, O], BaseModel] | None = None
    describe: Callable[[Any], Mapping[str, Any]] = describe_nothing
    request_only: frozenset[str] = frozenset()
    example: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    curl: str = "-F image=@photo.jpg"
    shipped: Callable[[Any], Path | None] = no_weights

    @property
    def route(self) -> str:
        """The path of its route."""
        return f"/v1/{self.path or '/'.join(filter(None, (self.group, self.name)))}"

    def write_item(self, result: R, head: H, options: O) -> dict[str, Any]:
        """The result of one image as a job keeps it: JSON values."""
        if self.to_item is not None:
            return dict(self.to_item(result, head, options))
        return self.to_answer(result, head, options).model_dump(mode="json")
