"""Intermediate results as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backbones.errors import DiffsightError
from service.http.openapi import REFERENCE
from service.http.problems import problem_response

MEDIA_TYPE = "text/event-stream"

Report = Callable[[BaseModel], None]
Event = tuple[str, str]


def wants_events(request: Request) -> bool:
    """Whether the client's Accept header names server-sent events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def events_response(description: str, *, progress: str, answer: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry of a route that streams, for its `responses`.

    progress, answer: names of the models in the data of these events, which OpenAPI 3.1 cannot describe.
    """
    events = {"progress": REFERENCE.format(model=progress), "answer": REFERENCE.format(model=answer)}
    entry = {"schema": {"type": "string", "description": description}, "x-events": events}
    return {200: {"content": {MEDIA_TYPE: entry}}}


async def event_stream(request: Request, work: Callable[[Report], Awaitable[BaseModel]]) -> Response:
    """Intermediate results of `work` as `progress` events, then its result as one `answer` event.

    An error before the first event is raised, and becomes a problem with its own status; a later one is a `problem`
    event, as the status has been sent. If the client disconnects, the work is cancelled.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    async def run() -> None:
        try:
            answer = await work(lambda progress: events.put_nowait(("progress", progress.model_dump_json())))
            events.put_nowait(("answer", answer.model_dump_json()))
        finally:
            events.put_nowait(None)

    task = asyncio.create_task(run())
    try:
        first = await events.get()
    except BaseException:
        task.cancel()
        raise
    if first is None:
        await task
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_write_events(request, task, first, events), media_type=MEDIA_TYPE, headers=headers)


async def _write_events(
    request: Request, task: asyncio.Task[None], event: Event | None, events: asyncio.Queue[Event | None]
) -> AsyncIterator[bytes]:
    try:
        while event is not None:
            name, data = event
            yield format_sse_event(event=name, data_str=data)
            event = await events.get()
        try:
            await task
        except Exception as error:
            problem = bytes(problem_response(error, request.scope).body).decode()
            yield format_sse_event(event="problem", data_str=problem)
            if not isinstance(error, DiffsightError):
                raise
    finally:
        task.cancel()
