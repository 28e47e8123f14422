"""Threads for blocking work, with a pool for each kind: if one kind hangs or is overloaded, the others continue.

asyncio's own pool runs only short work. Name look-ups have threads in `service.inputs.urls`, the device in
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

# More threads than cores would not help: decoding is computation. Waiting work is dropped when its request ends.
DECODING = ThreadPoolExecutor(_CPUS, "decode")
# A job processes many images; the single image of a request must not wait behind them.
BULK_DECODING = ThreadPoolExecutor(max(1, _CPUS - 1), "decode bulk")
# Parsing of bodies: base64, JSON, archives.
BODIES = ThreadPoolExecutor(max(2, _CPUS), "body")
# Encoding of results as JSON, pictures and masks, which takes seconds for 40 megapixels.
ANSWERS = ThreadPoolExecutor(max(2, _CPUS), "answer")
# Objects of clients on the data folder's disk, which may be a network folder that hangs.
LIBRARY = ThreadPoolExecutor(8, "library")
# Vectors of whole jobs: to read them, and to compare them with each other.
COMPARING = ThreadPoolExecutor(1, "compare")
# Each ends soon after its request has ended.
FITTING = ThreadPoolExecutor(_CPUS, "fit")
# Listing and reading of sources of jobs. A network folder that hangs blocks its thread.
SOURCES = ThreadPoolExecutor(32, "source")
DATABASE = ThreadPoolExecutor(8, "database")
UPLOADS = ThreadPoolExecutor(8, "upload")


async def run_in(pool: ThreadPoolExecutor, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """The result of the function, called on a thread of the pool with the caller's context variables.

    If cancelled before it starts, it is never called; a running function is not waited for.
    """
    context = contextvars.copy_context()
    call = partial(context.run, partial(function, *arguments, **options))
    return await asyncio.get_running_loop().run_in_executor(pool, call)


@asynccontextmanager
async def enter_in(pool: ThreadPoolExecutor, context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context that blocks, entered and left on threads of the pool; its exit never gets an exception."""
    entering = asyncio.ensure_future(run_in(pool, context.__enter__))
    try:
        value = await asyncio.shield(entering)
    except asyncio.CancelledError:
        # The thread may be entering it: then it is left again at once.
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
