"""One request as data, and its form for `httpx2`. The synchronous and the asynchronous client share this module."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2
from pydantic import ValidationError
from pydantic_core import to_json

from diffsight_client.errors import ClientError, ServerProblem, Unreachable, server_problem
from diffsight_client.images import Image, Upload, is_one, uploads_of

Answer = TypeVar("Answer")

_HEADER_TEXT = re.compile(r"[!-~]+")

JSON, BYTES, ANY, EVENTS = "application/json", "application/octet-stream", "*/*", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request.

    read: from the bytes to the answer. options: fields of the body; fields that are None are left out. images: by the
    field that they go into. files: open files by name, which are read while they are sent. query: parameters. body:
    bytes that are sent unchanged.
    """

    method: str
    path: str
    read: Callable[[bytes], Answer]
    options: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Image | Iterable[Image] | None] = field(default_factory=dict)
    files: Sequence[tuple[str, Any]] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    accept: str = JSON


def nothing(content: bytes) -> None:
    """For answers without a body."""


def text_of(content: bytes) -> str:
    """For answers that are text."""
    return content.decode()


def key_headers(api_key: str | None) -> dict[str, str]:
    """The headers that carry an API key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def model_headers(model: object) -> dict[str, str]:
    """The header that says, before the body does, which model a request names: a cluster chooses a replica by it."""
    return {"Diffsight-Model": model} if isinstance(model, str) and _HEADER_TEXT.fullmatch(model) else {}


def request_parts(call: Call[Any]) -> dict[str, Any]:
    """The arguments of `httpx2.Client.build_request`: a form if there are files, else JSON.

    Raises BadInput for values that are not images, and OSError for files that cannot be read.
    """
    headers = {"Accept": call.accept} | model_headers(call.options.get("model"))
    parts: dict[str, Any] = {"method": call.method, "url": call.path, "headers": headers}
    if query := _drop_missing(call.query):
        parts["params"] = {name: form_text(value) for name, value in query.items()}
    if call.body is not None:
        return parts | {"content": call.body, "headers": parts["headers"] | {"Content-Type": BYTES}}
    if call.files:
        texts = [(name, (None, form_text(value))) for name, value in _drop_missing(call.options).items()]
        return parts | {"files": [*texts, *(("file", file) for file in call.files)]}
    if call.method not in ("POST", "PATCH") or not (call.options or call.images):
        return parts
    options, images = _drop_missing(call.options), _drop_missing(call.images)
    uploads = {name: uploads_of(value) for name, value in images.items()}
    if _goes_as_json(options, uploads):
        several = {name: name != "image" or not is_one(value) for name, value in images.items()}
        inline = {name: _inline(files) if several[name] else _inline(files)[0] for name, files in uploads.items()}
        content = to_json(options | inline, fallback=_plain)
        return parts | {"content": content, "headers": parts["headers"] | {"Content-Type": JSON}}
    texts = [(name, (None, form_text(value))) for name, value in options.items()]
    files = [(name, (upload.name, upload.data)) for name, field_uploads in uploads.items() for upload in field_uploads]
    return parts | {"files": [*texts, *files]}


def _drop_missing(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _goes_as_json(options: Mapping[str, Any], uploads: Mapping[str, list[Upload]]) -> bool:
    """Without files, with URLs, and with a text in braces, which a form would read as an object."""
    braces = any(isinstance(value, str) and value.strip()[:1] in ("{", "[") for value in options.values())
    return (
        not uploads or braces or any(upload.address for field_uploads in uploads.values() for upload in field_uploads)
    )


def _inline(uploads: list[Upload]) -> list[str]:
    return [upload.address or base64.b64encode(upload.data).decode() for upload in uploads]


def form_text(value: Any) -> str:
    """A value as the text of a form's field or of the query: lists and objects as JSON."""
    return value if isinstance(value, str) else to_json(value, fallback=_plain).decode()


def _plain(value: Any) -> Any:
    """Converts arrays and their numbers, which JSON does not support, to lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__!r} cannot be sent")


def read_answer(call: Call[Answer], content: bytes) -> Answer:
    """The answer in the bytes of a response. Raises ClientError if the call expects something else."""
    try:
        return call.read(content)
    except (ValidationError, UnicodeDecodeError) as error:
        message = f"the answer of {call.method} {call.path} cannot be read; is the client older than the server?"
        raise ClientError(f"{message} {error}") from error


def problem_of(response: httpx2.Response) -> ServerProblem:
    """The exception for an error response whose content was read."""
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = {"title": response.reason_phrase, "detail": response.text[:500]}
    if not isinstance(problem, dict):
        problem = {"title": response.reason_phrase}
    return server_problem(response.status_code, problem, _seconds(response.headers.get("Retry-After")))


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None


def unreachable(error: httpx2.TransportError, path: str) -> Unreachable:
    """The exception for a failed connection in a call to a path."""
    reason = "no answer in time" if isinstance(error, httpx2.TimeoutException) else str(error) or type(error).__name__
    return Unreachable(f"{path}: {reason}")
