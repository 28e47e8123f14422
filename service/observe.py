"""What is told of every request: its id, its log line, its metrics and its Server-Timing; and the logs' shape."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import problem_response

if TYPE_CHECKING:
    from service.telemetry import Tracing

log = structlog.get_logger("diffsight")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# What a library or an error's text may quote of a request, though our own lines hold none of it.
_SECRETS = (
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization|x-api-key|(?:set-)?cookie)\b['\"]*\s*[:=,]\s*[^\r\n})\]]+"),
        r"\1: [removed]",
    ),
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), "Bearer [removed]"),
    (re.compile(r"\bdiffsight_[0-9a-f]{12}_[\w-]+"), "[removed]"),
    (re.compile(r"://[^/\s@'\"]+@"), "://[removed]@"),
    (re.compile(r"\?[^\s?'\"=]*=[^\s'\"]*"), "?[removed]"),
)


class ObserveRequests:
    """The outermost ASGI middleware. It answers faults too, so that even a 500 has its id, its log line and its count.

    A route notes in the request's state: `timings` (seconds by stage), `rows` and `labels`. `trace` it finds there.
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
        trace = state["trace"] = self.tracing.request(scope) if self.tracing is not None else None
        traced = {"trace_id": trace.trace_id} if trace is not None else {}
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
                if trace is not None:
                    message["headers"].append((b"traceparent", trace.traceparent.encode()))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=state["request_id"], **traced):
            try:
                await self.app(scope, receive, told)
            except Exception as error:
                log.exception("fault", path=scope["path"])
                if trace is not None:
                    trace.fault(error)
                if not status:
                    await problem_response(error, scope)(scope, receive, told)
            finally:
                self._note(scope, status, time.perf_counter() - started)
                if trace is not None:
                    trace.end(scope, status)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """One line in the log and one count in the metrics."""
        state = scope["state"]
        task = getattr(scope.get("route"), "name", None) or "none"
        self.metrics.count_request(task, status, seconds, state.get("problem", ""))
        if (waited := state.get("timings", {}).get("queue")) is not None:
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
            client=(scope.get("client") or ("",))[0],
        )


def request_id(scope: Scope) -> str:
    """The caller's own X-Request-ID where it is short and plain, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def server_timing(timings: Mapping[str, float]) -> str:
    """The Server-Timing header: each stage with its milliseconds."""
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in timings.items())


def without_secrets(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with credentials and queries taken out of its texts, tracebacks included."""
    for key, value in event.items():
        if isinstance(value, str):
            for pattern, instead in _SECRETS:
                value = pattern.sub(instead, value)
            event[key] = value
    return event


def configure_logging(level: str) -> None:
    """One JSON line an event on standard error, from this program and from the libraries it uses."""
    _log_what_native_code_prints()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_secrets,
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
    for chatty in (
        "httpx",
        "httpx2",
        "httpcore2",
        "urllib3",
        "filelock",
        "huggingface_hub",
        "PIL",
        "asyncio",
        "alembic",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Of a damaged file or form the answer tells; here it would only let callers fill the log.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.captureWarnings(True)
    _log_what_nobody_caught()
    _adopt_libraries()


def _log_what_native_code_prints() -> None:
    """Let the lines that C libraries write to file descriptor 2 (libtiff, of damaged files) be lines of the log.

    Python's own standard error stays what it was, under another number.
    """
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, ValueError):  # not a file, or closed: nobody reads what is printed there
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def read() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                log.info("native code printed", text=line.rstrip()[:1000])

    threading.Thread(target=read, name="native stderr", daemon=True).start()


def _log_what_nobody_caught() -> None:
    """Let errors that end a thread, or the program, be lines of the log too."""

    def of_thread(told: threading.ExceptHookArgs) -> None:
        error = told.exc_value or told.exc_type()
        log.error("a thread died", thread=told.thread.name if told.thread else "", exc_info=error)

    threading.excepthook = of_thread


def _adopt_libraries() -> None:
    """Take away the handlers and progress bars that libraries write to standard error with."""
    for library in ("transformers", "diffusers"):
        own = import_module(f"{library}.utils.logging")
        own.disable_default_handler()
        own.enable_propagation()
        if not sys.stderr.isatty():
            own.disable_progress_bar()
    if not sys.stderr.isatty():
        import_module("huggingface_hub.utils").disable_progress_bars()
