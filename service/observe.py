"""What is told of every request: its id, its log line, its metrics and its Server-Timing; and the logs' shape."""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import problem_response

log = structlog.get_logger("diffsight")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ObserveRequests:
    """The outermost ASGI middleware. It answers faults too, so that even a 500 has its id, its log line and its count.

    A route notes in the request's state: `timings` (seconds by stage) and `rows`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id(scope)
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timings = {**state.get("timings", {}), "total": time.perf_counter() - started}
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", state["request_id"].encode()),
                    (b"server-timing", server_timing(timings).encode()),
                ]
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception as error:
            log.exception("fault", request_id=state["request_id"], path=scope["path"])
            if not status:
                await problem_response(error, scope)(scope, receive, told)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """One line in the log and one count in the metrics."""
        state = scope["state"]
        task = getattr(scope.get("route"), "name", None) or "none"
        self.metrics.count_request(task, status, seconds, state.get("problem", ""))
        if waited := state.get("timings", {}).get("queue"):
            self.metrics.queue_seconds.labels(task).observe(waited)
        log.log(
            logging.WARNING if status >= 500 else logging.INFO,
            "request",
            method=scope["method"],
            path=scope["path"],
            task=task,
            status=status,
            seconds=round(seconds, 6),
            rows=state.get("rows", 0),
            problem=state.get("problem", ""),
            request_id=state["request_id"],
            client=(scope.get("client") or ("",))[0],
        )


def request_id(scope: Scope) -> str:
    """The caller's own X-Request-ID where it is short and plain, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def server_timing(timings: Mapping[str, float]) -> str:
    """The Server-Timing header: each stage with its milliseconds."""
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in timings.items())


def configure_logging(level: str) -> None:
    """One JSON line an event on standard error, from this program and from the libraries it uses."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Their every request at level info would drown ours.
    for chatty in ("httpx", "urllib3", "filelock", "huggingface_hub"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
