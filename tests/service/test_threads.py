"""Pools by kind: a full pool delays no other, and work that is cancelled before its turn is never called."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.threads import BODIES, UPLOADS, enter_in, run_in

WHO = contextvars.ContextVar("who", default="nobody")


def test_a_full_pool_delays_no_other_pool_and_drops_cancelled_work() -> None:
    release, called = threading.Event(), list[int]()

    async def run() -> None:
        WHO.set("me")
        held = [asyncio.create_task(run_in(UPLOADS, release.wait, 60)) for _ in range(UPLOADS._max_workers)]
        late = asyncio.create_task(run_in(UPLOADS, called.append, 1))
        await asyncio.sleep(0)
        assert await run_in(BODIES, WHO.get) == "me"
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        release.set()
        await asyncio.gather(*held)
        await run_in(UPLOADS, called.append, 2)

    asyncio.run(run())
    assert called == [2]


def test_a_context_is_entered_and_left_on_the_pools_threads() -> None:
    where: list[str] = []

    @contextmanager
    def context() -> Iterator[int]:
        where.append(threading.current_thread().name)
        yield 7
        where.append(threading.current_thread().name)

    async def run() -> None:
        async with enter_in(UPLOADS, context()) as value:
            assert value == 7
            assert len(where) == 1

    asyncio.run(run())
    assert all(name.startswith("upload") for name in where)
    assert len(where) == 2


def test_a_context_whose_caller_leaves_while_it_is_entered_is_left_too() -> None:
    entering, release, left = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def context() -> Iterator[None]:
        entering.set()
        release.wait(60)
        try:
            yield
        finally:
            left.set()

    async def use() -> None:
        async with enter_in(UPLOADS, context()):
            raise AssertionError("it was given up")

    async def run() -> None:
        using = asyncio.create_task(use())
        await asyncio.to_thread(entering.wait, 60)
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)
        release.set()
        assert await asyncio.to_thread(left.wait, 60)

    asyncio.run(run())
