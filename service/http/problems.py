"""Errors as RFC 9457 `application/problem+json`: the table of statuses, and the function that writes them."""

from __future__ import annotations

import errno
import http
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from backbones.errors import (
    Cancelled,
    DeadlinePassed,
    DiffsightError,
    InvalidInput,
    ModelNotFound,
    NotANumber,
    OutOfMemory,
    Overloaded,
)
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ChangedMeanwhile,
    ClientGone,
    ForeignCaller,
    HeadTooLarge,
    KeyNeeded,
    MalformedBody,
    ModelInUse,
    NothingStored,
    NotReady,
    RateExceeded,
    StorageFailed,
    TooManyAtOnce,
    UnsupportedBody,
)

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20
# Clients of other protocols read the reason from a member of their own, and accept only `application/json`. Keys are
# the first parts of their routes' paths.
FOREIGN_MEMBERS: Mapping[str, str] = {"/hf": "error", "/v2": "error", "/roboflow": "message"}
FOREIGN_MEDIA_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem: its status, the last part of its `type`, its title, and what it means for docs/errors.md."""

    status: int
    slug: str
    title: str
    meaning: str


PROBLEMS: Mapping[type[Exception], ProblemKind] = {
    MalformedBody: ProblemKind(
        400, "malformed-body", "The body can not be read", "The syntax of the JSON or multipart body is broken."
    ),
    KeyNeeded: ProblemKind(
        401, "key-needed", "A valid API key is needed", "The request has no API key, or an invalid or expired one."
    ),
    ForeignCaller: ProblemKind(
        403,
        "foreign-caller",
        "Requests from pages of other sites are refused",
        "A server without API keys answers only requests from its own machine.",
    ),
    ModelNotFound: ProblemKind(
        404, "model-not-found", "No such model", "The request names a model that this server does not have."
    ),
    NothingStored: ProblemKind(
        404, "nothing-stored", "No object with this id", "The object was deleted, or was never created on this server."
    ),
    ChangedMeanwhile: ProblemKind(
        409,
        "changed-meanwhile",
        "Changed by another request",
        "Another request changed the object. Read it again, then repeat the change.",
    ),
    ModelInUse: ProblemKind(
        409, "model-in-use", "The model is in use", "Try again when the model's requests have ended."
    ),
    BodyTooSlow: ProblemKind(
        408,
        "body-too-slow",
        "The body arrived too slowly",
        "The body did not arrive within `limits.deadline_seconds`, which is extended as bytes arrive.",
    ),
    BodyTooLarge: ProblemKind(
        413, "body-too-large", "The body is too large", "The body has more bytes than `limits.max_upload_bytes`."
    ),
    UnsupportedBody: ProblemKind(
        415,
        "unsupported-body",
        "Unsupported content type",
        "Send multipart, JSON or `image/*`; or a zip if the route takes several images.",
    ),
    InvalidInput: ProblemKind(
        422,
        "invalid-input",
        "A value can not be used",
        "`field` names the value, `detail` its bound, `hint` what to send.",
    ),
    Overloaded: ProblemKind(
        429,
        "overloaded",
        "The queue is full",
        "Send the request again after `Retry-After` seconds.",
    ),
    RateExceeded: ProblemKind(
        429,
        "rate-exceeded",
        "Too many requests a minute",
        "The API key, or the client's address, has reached its limit; see `Retry-After`.",
    ),
    TooManyAtOnce: ProblemKind(
        429,
        "too-many-at-once",
        "Too many simultaneous requests",
        "The API key, or the client's address, has reached its limit.",
    ),
    ClientGone: ProblemKind(
        499,
        "client-gone",
        "The client disconnected",
        "Appears in logs and metrics only: the client's waiting rows were dropped.",
    ),
    HeadTooLarge: ProblemKind(
        431,
        "head-too-large",
        "The request's head is too large",
        "The headers have more bytes than `limits.max_header_bytes`.",
    ),
    NotANumber: ProblemKind(
        500, "not-a-number", "The result is not a number", "The result of this request contained NaN or infinity."
    ),
    Exception: ProblemKind(
        500, "internal-error", "Internal error of the server", "An error of the server; its log has the details."
    ),
    NotReady: ProblemKind(
        503, "not-ready", "The server is not ready", "The backbone is being loaded, or could not be loaded."
    ),
    OutOfMemory: ProblemKind(
        503,
        "out-of-memory",
        "Not enough memory",
        "A part of this request does not fit into memory. Other requests are not affected.",
    ),
    Cancelled: ProblemKind(
        503, "stopping", "The server is stopping", "The request was dropped while it waited in the queue."
    ),
    DeadlinePassed: ProblemKind(
        504, "deadline-passed", "The deadline passed", "The work was not done within `deadline_seconds`."
    ),
    StorageFailed: ProblemKind(
        507,
        "storage-failed",
        "The server could not store data",
        "The server's disk is full or not writable, or its database is not reachable.",
    ),
}
# Error numbers of system calls if a disk is full or not writable.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM})
# Errors that starlette raises itself, with the hint for each.
HTTP_PROBLEMS = {
    404: (
        ProblemKind(404, "not-found", "No such route", "The server has no route with this path."),
        "/docs lists the routes",
    ),
    405: (
        ProblemKind(
            405,
            "method-not-allowed",
            "The route does not have this method",
            "The header `Allow` lists the route's methods.",
        ),
        "use a method that the header Allow lists",
    ),
}


class FieldError(BaseModel):
    """A value that was refused."""

    loc: list[str | int] = Field(description="Path of the value: the field, then the keys or indices inside it.")
    msg: str
    type: str


class Problem(BaseModel):
    """An error, as RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/invalid-input",
                    "title": "A value can not be used",
                    "status": 422,
                    "detail": "612 labels; one request takes 500",
                    "hint": "send fewer labels",
                    "field": "labels",
                    "errors": [
                        {"loc": ["labels"], "msg": "612 labels; one request takes 500", "type": "invalid_input"}
                    ],
                    "request_id": "5f0c1b6e0a7d4c52a9f0f7f2f1f4a9d3",
                    "instance": "/v1/classify/zero-shot",
                }
            ]
        }
    )

    type: str = Field(description="Type of the problem; docs/errors.md lists them all.")
    title: str = Field(description="The type in words, the same for all problems of one `type`.")
    status: int
    detail: str = Field(description="What was wrong with this request.")
    hint: str = Field(default="", description="What to do, or what to send instead.")
    field: str = Field(
        default="",
        description="Path of the first field that was refused, with dots; empty if the error concerns no field.",
    )
    errors: list[FieldError] = Field(default=[], description=f"The values at fault, the first {MOST_ERRORS} of them.")
    request_id: str = Field(
        default="", description="Id of the request, the same as in the header X-Request-ID and in the server's log."
    )
    instance: str = Field(default="", description="Path of the request.")


def kind_of(error: Exception) -> ProblemKind:
    """The table's entry for an error, by its class or the nearest base class with an entry."""
    return next(PROBLEMS[base] for base in type(error).__mro__ if base in PROBLEMS)


def problem_of(error: Exception) -> tuple[Problem, dict[str, str]]:
    """The problem that describes `error` to the client, with its headers. It shows no details of internal errors."""
    error = translate_error(error)
    if isinstance(error, HTTPException):
        return _http_problem(error), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        return _validation_problem(error.errors()), {}
    kind = kind_of(error)
    problem = Problem(
        type=f"/problems/{kind.slug}", title=kind.title, status=kind.status, detail="see the server's log"
    )
    if kind is PROBLEMS[Exception] or not isinstance(error, DiffsightError):
        return problem.model_copy(update={"hint": "tell the server's operator this request_id"}), {}
    problem = problem.model_copy(update={"detail": error.message, "hint": error.hint})
    if isinstance(error, InvalidInput):
        at_fault = FieldError(loc=[error.field], msg=error.message, type="invalid_input")
        problem = problem.model_copy(update={"field": error.field, "errors": [at_fault]})
    if isinstance(error, (Overloaded, NotReady)) and error.retry_after_seconds is not None:
        return problem, {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    if isinstance(error, KeyNeeded):
        return problem, {"WWW-Authenticate": 'Bearer realm="diffsight"'}
    if isinstance(error, BodyTooSlow):
        return problem, {"Connection": "close"}
    return problem, {"Retry-After": "5"} if kind.status == 503 else {}


def translate_error(error: Exception) -> Exception:
    """Our error for an error of a library, such as a disconnected client or a full disk; else the error itself."""
    if isinstance(error, ClientDisconnect):
        return ClientGone("the client disconnected")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageFailed(
            f"the server's disk cannot store it: {error.strerror}",
            hint="tell the server's operator; then send it again",
        )
    if isinstance(error, MemoryError):
        return OutOfMemory("this request does not fit into the server's memory", hint="send smaller or fewer images")
    # Starlette wraps an error of ours that is raised after the answer has begun.
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, DiffsightError):
        return error.__cause__
    return error


def problem_response(error: Exception, scope: Scope) -> Response:
    """The HTTP answer for `error` to the request of `scope`, in which the problem's kind is noted for the metrics."""
    problem, headers = problem_of(error)
    state = scope.setdefault("state", {})
    state["problem"] = problem.type.removeprefix("/problems/")
    state["problem_detail"], state["problem_field"] = problem.detail, problem.field
    context = {"request_id": state.get("request_id", ""), "instance": scope.get("path", "")}
    members = problem.model_copy(update=context).model_dump()
    media_type = MEDIA_TYPE
    if (reason := foreign_member(scope.get("path", ""))) is not None:
        has_hint = problem.hint and problem.hint in problem.detail
        members = {reason: problem.detail if has_hint else f"{problem.detail}; {problem.hint}", **members}
        media_type = FOREIGN_MEDIA_TYPE
    # A client's text may hold a lone surrogate, which UTF-8 cannot encode; JSON can escape it.
    body = json.dumps(members, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, problem.status, headers, media_type=media_type)


def foreign_member(path: str) -> str | None:
    """The member in which clients of a foreign protocol read the reason of a problem; None for this server's own
    routes.
    """
    return FOREIGN_MEMBERS.get(f"/{path.split('/')[1]}") if path.startswith("/") else None


def handle_problems(app: FastAPI) -> None:
    """Answer every error of the routes as a problem. Faults (any other exception) are answered in observe.py."""

    async def answer(request: Request, error: Exception) -> Response:
        response = problem_response(error, request.scope)
        if response.status_code == 405 and (methods := _methods(app, request.scope["path"])):
            response.headers["Allow"] = ", ".join(methods)
        return response

    for handled in (DiffsightError, RequestValidationError, HTTPException):
        app.add_exception_handler(handled, answer)


def _methods(app: FastAPI, path: str) -> list[str]:
    """The documented methods of a path; starlette names those of the first route alone that has it."""
    paths = app.openapi()["paths"]
    matching = (methods for pattern, methods in paths.items() if compile_path(pattern)[0].match(path))
    return sorted(method.upper() for method in paths.get(path) or next(matching, {}))


def problems_table() -> str:
    """Markdown table of all kinds, for docs/errors.md."""
    kinds = [*PROBLEMS.values(), *(kind for kind, _ in HTTP_PROBLEMS.values())]
    rows = sorted(kinds, key=lambda kind: (kind.status, kind.slug))
    lines = [f"| {kind.status} | `/problems/{kind.slug}` | {kind.title} | {kind.meaning} |" for kind in rows]
    return "\n".join(["| status | type | title | meaning |", "|---|---|---|---|", *lines])


def _http_problem(error: HTTPException) -> Problem:
    """The problem for an error that starlette raises itself."""
    phrase = http.HTTPStatus(error.status_code).phrase
    other = ProblemKind(error.status_code, phrase.lower().replace(" ", "-"), phrase, "")
    kind, hint = HTTP_PROBLEMS.get(error.status_code, (other, ""))
    return Problem(
        type=f"/problems/{kind.slug}", title=kind.title, status=kind.status, detail=str(error.detail), hint=hint
    )


def _validation_problem(errors: Sequence[Any]) -> Problem:
    """The problem for errors of pydantic, without the client's input and without links to documentation."""
    kind = PROBLEMS[InvalidInput]
    listed = [FieldError(loc=list(e["loc"]), msg=e["msg"], type=e["type"]) for e in errors[:MOST_ERRORS]]
    first = errors[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=f"{field}: {first['msg']}{more}",
        hint=first.get("ctx", {}).get("hint", "") or f"/docs and /openapi.json show what {field} takes",
        field=field,
        errors=listed,
    )
