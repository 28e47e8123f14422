"""Threads for blocking work, a pool of its own for each kind: one kind that hangs or is flooded stops no other.

asyncio's own pool is left with what is short. A name server has threads in `service.inputs.urls`, the device in
`service.engine`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CPUS = os.cpu_count() or 1

# More threads than cores would only share them: decoding is work. What waits is dropped when its request ends.
DECODING = ThreadPoolExecutor(_CPUS, "decode")
# A job processes many images; the single image of a request must not wait behind them.
BULK_DECODING = ThreadPoolExecutor(max(1, _CPUS - 1), "decode bulk")
# Bodies to models: base64, JSON, archives.
BODIES = ThreadPoolExecutor(max(2, _CPUS), "body")
# Results to JSON, pictures and masks: that of a picture of 40 megapixels takes seconds.
ANSWERS = ThreadPoolExecutor(max(2, _CPUS), "answer")
# What callers made, on the disk of the data folder, which may be a network folder that hangs.
LIBRARY = ThreadPoolExecutor(8, "library")
# Vectors of whole jobs: to read them, and to compare them with each other.
COMPARING = ThreadPoolExecutor(1, "compare")
# Each ends soon after no request waits for it any more.
FITTING = ThreadPoolExecutor(_CPUS, "fit")
# What lists and reads the sources of jobs. A network folder that hangs keeps a thread for as long.
SOURCES = ThreadPoolExecutor(32, "source")
DATABASE = ThreadPoolExecutor(8, "database")
UPLOADS = ThreadPoolExecutor(8, "upload")


async def run_in(pool: ThreadPoolExecutor, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """What the function returns, called on a thread of the pool with the caller's context variables.

    Cancelled while it waits for a thread, it is never called; while it runs, its end is not waited for.
    """
    context = contextvars.copy_context()
    call = partial(context.run, partial(function, *arguments, **options))
    return await asyncio.get_running_loop().run_in_executor(pool, call)


@asynccontextmanager
async def enter_in(pool: ThreadPoolExecutor, context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context that touches the disk, entered and left on threads of the pool; its exit never sees an exception."""
    entering = asyncio.ensure_future(run_in(pool, context.__enter__))
    try:
        value = await asyncio.shield(entering)
    except asyncio.CancelledError:
        # The thread may be inside already: it is left again as soon as it is.
        entering.add_done_callback(lambda done: _leave_entered(pool, context, done))
        raise
    try:
        yield value
    finally:
        await asyncio.shield(run_in(pool, context.__exit__, None, None, None))


def _leave_entered(
    pool: ThreadPoolExecutor, context: AbstractContextManager[Any], entering: asyncio.Future[Any]
) -> None:
    if not entering.cancelled() and entering.exception() is None:
        pool.submit(context.__exit__, None, None, None)
