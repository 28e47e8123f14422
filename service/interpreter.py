"""Python's interpreter in a process that answers requests while other threads compute."""

from __future__ import annotations

import gc
import sys

_SWITCH_SECONDS = 0.0001


def switch_often() -> None:
    """Let a thread that runs Python code yield after a tenth of a millisecond, not after Python's five milliseconds.

    The event loop, and the operations of a batch beside a model that is being loaded, wait that long for it each time.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def keep_for_good(*, collect: bool = True) -> None:
    """Exclude all present objects, code and models, from Python's cyclic garbage collection.

    There are half a million such objects, and a full collection under load blocks every thread for half a second or
    more. Objects such as a model's weights are still freed by reference counts. collect: run a collection first.
    """
    if collect:
        gc.collect()
    gc.freeze()
