"""Progress where no person watches a bar: a line on standard error every few seconds of long work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PREFIX = "progress: "
_SECONDS = 5.0


@contextmanager
def progress_lines(describe: Callable[[], str], *, seconds: float = _SECONDS) -> Iterator[None]:
    """While the context lasts, write what `describe` says every so many seconds; a terminal gets nothing.

    Work that ends before the first line is due stays silent, and so does a moment at which `describe` says nothing.
    """
    if sys.stderr.isatty():
        yield
        return
    ended, started = threading.Event(), time.monotonic()

    def repeat() -> None:
        while not ended.wait(seconds):
            if text := describe():
                print(f"{PREFIX}{text}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    writing = threading.Thread(target=repeat, name="progress", daemon=True)
    writing.start()
    try:
        yield
    finally:
        ended.set()
        writing.join()
