"""A signal for coroutines that wait for each other."""

from __future__ import annotations

import asyncio

from service.models.changes import Changes


def test_every_waiting_task_is_woken() -> None:
    async def run() -> list[str]:
        changes, woken = Changes(), []

        async def wait(name: str) -> None:
            await changes.wait(60)
            woken.append(name)

        waiting = [asyncio.create_task(wait(name)) for name in "ab"]
        while len(changes._waiting) < 2:
            await asyncio.sleep(0)
        changes.notify()
        await asyncio.gather(*waiting)
        return woken

    assert sorted(asyncio.run(run())) == ["a", "b"]


def test_no_task_waits_for_ever() -> None:
    asyncio.run(Changes().wait(0.0))
