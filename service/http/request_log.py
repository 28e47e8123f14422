"""Records every request: its id, its log line, its metrics and its Server-Timing."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backbones.errors import DiffsightError
from service.http.access import DOCS_FILES, is_page
from service.http.problems import problem_response, translate_error
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.telemetry.usage import Usage

log = structlog.get_logger("diffsight")

# Label Studio does not show the body of an error.
_SILENT_CLIENTS = "/label-studio/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ObserveRequests:
    """The outermost ASGI middleware. It also answers internal errors, so that a 500 has an id, a log line and a count
    too.

    The request's state holds its `usage`, which a route fills with seconds by stage and rows.
    Whatever is logged while a request is answered carries its id.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self.app = app
        self.metrics = metrics
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id(scope)
        trace = self.tracing.request(scope) if self.tracing is not None else None
        recorded = trace is not None and trace.span.is_recording()
        usage = state["usage"] = Usage(trace=trace if recorded else None)
        traced = {"trace_id": trace.trace_id} if trace is not None else {}
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timings = {**usage.timings, "total": time.perf_counter() - started}
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", state["request_id"].encode()),
                    (b"server-timing", server_timing(timings).encode()),
                ]
                if trace is not None:
                    message["headers"].append((b"traceparent", trace.traceparent.encode()))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=state["request_id"], **traced):
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception as raised:
                error = translate_error(raised)
                if isinstance(error, DiffsightError):
                    log.warning("answer not finished", path=scope["path"], reason=str(error), cause=str(raised))
                else:
                    log.exception("fault", path=scope["path"])
                    if trace is not None:
                        trace.fault(error)
                if not status:
                    await problem_response(error, scope)(scope, receive, send_with_headers)
            finally:
                self._note(scope, status, time.perf_counter() - started)
                if trace is not None:
                    trace.end(scope, status)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """One line in the log and one count in the metrics."""
        state = scope["state"]
        usage: Usage = state["usage"]
        task = route_name(scope)
        self.metrics.count_request(task, status, seconds, state.get("problem", ""))
        if (waited := usage.timings.get("queue")) is not None:
            self.metrics.queue_seconds.labels(task).observe(waited)
        log.log(
            _level(scope["path"], status),
            "request",
            method=scope["method"],
            path=scope["path"],
            task=task,
            status=status,
            seconds=round(seconds, 6),
            rows=usage.rows,
            problem=state.get("problem", ""),
            client=(scope.get("client") or ("",))[0],
            **_describe_unshown_problem(scope),
        )


def route_name(scope: Scope) -> str:
    """The name of a request's route, which is the task's name for a task; without the part after a colon."""
    name: str = getattr(scope.get("route"), "name", None) or "none"
    return name.partition(":")[0]


def _level(path: str, status: int) -> int:
    """A page loads a hundred files: successful requests for them are not logged."""
    if status >= 500:
        return logging.WARNING
    return logging.DEBUG if status < 400 and (is_page(path) or path.startswith(f"{DOCS_FILES}/")) else logging.INFO


def _describe_unshown_problem(scope: Scope) -> dict[str, str]:
    """The problem of a request whose client shows its user no part of the answer and refers to this log."""
    state = scope["state"]
    if not state.get("problem") or not scope["path"].startswith(_SILENT_CLIENTS):
        return {}
    return {"detail": state["problem_detail"][:1000], "field": state["problem_field"][:200]}


def request_id(scope: Scope) -> str:
    """The client's own X-Request-ID if it is short and plain, else a new one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def server_timing(timings: Mapping[str, float]) -> str:
    """The Server-Timing header: each stage with its milliseconds."""
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in timings.items())
