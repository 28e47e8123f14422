"""Server-sent events of work that ends well, badly, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse

from backbones.errors import DeadlinePassed, InvalidInput
from service.api.streams import Report, event_stream, wants_events


class Number(BaseModel):
    number: int


def request(accept: str = "text/event-stream") -> Request:
    return Request({"type": "http", "method": "POST", "path": "/v1", "headers": [(b"accept", accept.encode())]})


async def stream(work: object) -> str:
    response = await event_stream(request(), work)  # type: ignore[arg-type]
    assert isinstance(response, StreamingResponse)
    assert response.headers["content-type"].startswith("text/event-stream")
    return "".join([bytes(chunk).decode() async for chunk in response.body_iterator])  # type: ignore[arg-type]


def test_progress_comes_before_the_answer() -> None:
    async def work(report: Report) -> BaseModel:
        report(Number(number=1))
        await asyncio.sleep(0)
        report(Number(number=2))
        return Number(number=3)

    assert asyncio.run(stream(work)) == (
        'event: progress\ndata: {"number":1}\n\n'
        'event: progress\ndata: {"number":2}\n\n'
        'event: answer\ndata: {"number":3}\n\n'
    )


def test_an_error_after_the_first_event_is_the_last_event() -> None:
    async def work(report: Report) -> BaseModel:
        report(Number(number=1))
        raise DeadlinePassed("too late", hint="be quick")

    first, last = asyncio.run(stream(work)).strip().split("\n\n")
    assert first.startswith("event: progress")
    assert last.startswith("event: problem\ndata: {")
    assert "/problems/deadline-passed" in last


def test_an_error_before_the_first_event_keeps_its_own_status() -> None:
    async def work(report: Report) -> BaseModel:
        raise InvalidInput("labels", "none")

    with pytest.raises(InvalidInput):
        asyncio.run(stream(work))


def test_a_reader_that_leaves_ends_the_work() -> None:
    ended = []

    async def work(report: Report) -> BaseModel:
        report(Number(number=1))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return Number(number=2)

    async def leave() -> None:
        response = await event_stream(request(), work)
        assert isinstance(response, StreamingResponse)
        reading = response.body_iterator
        await anext(aiter(reading))
        await reading.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert ended == [True]


def test_only_a_client_that_accepts_events_gets_them() -> None:
    assert wants_events(request("text/event-stream, */*"))
    assert not wants_events(request("application/json"))
