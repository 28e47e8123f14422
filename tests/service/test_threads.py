"""Pools by kind: one that is full holds up no other, and what was given up before its turn is never called."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from service.threads import BODIES, UPLOADS, run_in

WHO = contextvars.ContextVar("who", default="nobody")


def test_a_full_pool_holds_up_no_other_and_forgets_who_left() -> None:
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
