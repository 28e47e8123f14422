"""Progress without a terminal: a line on standard error every few seconds of long work."""

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
    """Write the text of `describe` at intervals until the block ends; on a terminal write nothing.

    Work that ends before the first interval writes nothing, and empty texts are skipped.
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
