"""The exceptions of the client: the server's problems by kind, and errors before an answer.

ClientError
    Unreachable             no answer: refused, broken, or not in time
    MissingPackage          an array or a picture needs numpy, pillow or supervision, which is not installed
    BadInput                the client cannot send, or read, a value
    ServerProblem           the server answered with a problem
        RequestRefused      400, 405, 413, 415, 422, 431: the request must be changed
        AccessDenied        401, 403
        NotFound            404
        Conflict            409
        Busy                429, 503, 504: the same request may be answered later
        ServerFault         any other status: 500, 507
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The base class of all exceptions of this package."""


class Unreachable(ClientError):
    """No answer: the connection was refused or broken, or the time was up."""


class MissingPackage(ClientError, ImportError):
    """This answer needs a package that is not installed."""


class BadInput(ClientError, ValueError):
    """A value that cannot be sent, or read."""


class ServerProblem(ClientError):
    """The server's problem (RFC 9457).

    status: of HTTP. kind: the last part of its type, such as `invalid-input`, which is stable. detail: what happened.
    hint: what to send instead, or what to do. field: the first wrong value, empty for none. errors: all wrong values,
    each with `loc`, `msg` and `type`. request_id: as in the server's log. retry_after: the server's number of seconds
    to wait, or None.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.kind = str(problem.get("type", "")).rpartition("/")[2]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.hint = str(problem.get("hint", ""))
        self.field = str(problem.get("field", ""))
        self.errors: list[dict[str, Any]] = list(problem.get("errors", ()))
        self.request_id = str(problem.get("request_id", ""))
        self.retry_after = retry_after
        super().__init__(self._text())

    def _text(self) -> str:
        about = f"{self.status} {self.kind or self.title}" + (f", {self.field}" if self.field else "")
        message = self.detail or self.title or "no reason was given"
        hint = f"; {self.hint}" if self.hint else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{about}: {message}{hint}{request}"


class RequestRefused(ServerProblem):
    """The request must be changed."""


class AccessDenied(ServerProblem):
    """The API key is missing, unknown, or has no permission for this."""


class NotFound(ServerProblem):
    """The route, model or object does not exist."""


class Conflict(ServerProblem):
    """The object is in use, or another request changed it."""


class Busy(ServerProblem):
    """The server cannot do it now; the same request may be answered later."""


class ServerFault(ServerProblem):
    """A fault of the server."""


_BY_STATUS: Mapping[int, type[ServerProblem]] = {
    **dict.fromkeys((400, 405, 413, 415, 422, 431), RequestRefused),
    **dict.fromkeys((401, 403), AccessDenied),
    404: NotFound,
    409: Conflict,
    **dict.fromkeys((429, 503, 504), Busy),
}


def server_problem(status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> ServerProblem:
    """The exception for a problem, by its status."""
    return _BY_STATUS.get(status, ServerFault)(status, problem, retry_after)
