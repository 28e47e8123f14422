"""The format of logs: one JSON line an event, from this program and from its libraries."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

import structlog

log = structlog.get_logger("diffsight")

# Secrets of a request that a library or an error's text may quote; our own lines hold none.
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


def remove_secrets(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with credentials and queries taken out of its texts, tracebacks included."""
    for key, value in event.items():
        if isinstance(value, str):
            for pattern, instead in _SECRETS:
                value = pattern.sub(instead, value)
            event[key] = value
    return event


class UnfailingStream:
    """A text stream that drops lines which cannot be written: on a full disk, or to a closed pipe.

    A failure to log never ends the work.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(level: str) -> None:
    """One JSON line an event on standard error, from this program and from the libraries it uses."""
    _log_what_native_code_prints()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        remove_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(UnfailingStream(sys.stderr)),  # type: ignore[arg-type]
    )
    # As for structlog: a library's line that cannot be written is dropped, without a traceback.
    logging.raiseExceptions = False
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
    # At level info they would log each of their requests.
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
    # The answer reports a damaged file or form; here clients could fill the log with it.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.captureWarnings(True)
    _log_what_nobody_caught()
    _adopt_libraries()


def _log_what_native_code_prints() -> None:
    """Log the lines that C libraries write to file descriptor 2, such as libtiff for damaged files.

    Python's standard error moves to another file descriptor.
    """
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, ValueError):  # not a file, or closed: printed text would be lost
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
    """Log errors that end a thread or the program."""

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value or arguments.exc_type()
        log.error("a thread died", thread=arguments.thread.name if arguments.thread else "", exc_info=error)

    threading.excepthook = of_thread


def _adopt_libraries() -> None:
    """Remove handlers and progress bars of libraries that write to standard error."""
    for library in ("transformers", "diffusers"):
        own = import_module(f"{library}.utils.logging")
        own.disable_default_handler()
        own.enable_propagation()
        if not sys.stderr.isatty():
            own.disable_progress_bar()
    if not sys.stderr.isatty():
        import_module("huggingface_hub.utils").disable_progress_bars()
