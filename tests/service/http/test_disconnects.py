"""Work is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import ClientGone
from service.http.disconnects import while_connected


def request(*messages: str, then: asyncio.Event | None = None) -> Request:
    """A request whose next messages are of these types; no other message follows."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": left.pop(0)}
        await (then or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": [], "method": "POST", "path": "/"}, receive)


def test_the_result_comes_while_the_client_waits() -> None:
    async def work() -> int:
        return 7

    assert asyncio.run(while_connected(request("http.request"), work())) == 7


def test_a_client_that_leaves_ends_the_work() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(ClientGone):
        asyncio.run(while_connected(request("http.request", "http.disconnect"), work()))
    assert ended == [True]


def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(while_connected(request(), work()))
