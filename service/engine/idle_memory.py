"""An idle server gives freed memory back to the system.

Under load the allocator keeps what torch frees (`host_cpu.keep_freed_memory`), because the next batch needs it at once.
After the load, half a gigabyte of it would stay with a server that has nothing to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from typing import NoReturn

LOOK_SECONDS = 5.0


def give_back_freed_memory() -> bool:
    """Return freed pages to the system, also those below what is in use. Returns whether this allocator can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return False
    trim(0)
    return True


async def give_back_when_idle(
    work_done: Callable[[], float],
    give_back: Callable[[], object] = give_back_freed_memory,
    look_seconds: float = LOOK_SECONDS,
) -> NoReturn:
    """Call `give_back` once after each load: when `work_done` stays the same from one look to the next.

    work_done: a number that grows with every batch, such as the device's seconds. Cancel the task to end it.
    """
    given_back_at = seen = work_done()
    while True:
        await asyncio.sleep(look_seconds)
        before, seen = seen, work_done()
        if seen == before and seen != given_back_at:
            # This holds the allocator's lock for tens of milliseconds; on an idle server no other thread waits for it.
            await asyncio.to_thread(give_back)
            given_back_at = seen
