"""Lets coroutines wait for changes: the end of a lease, of a load, of a stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Changes:
    """A notification for all waiting coroutines of one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def notify(self) -> None:
        """Wake all current waiters."""
        for event in self._waiting:
            event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next `notify`, or after that many seconds."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        finally:
            self._waiting.discard(event)
