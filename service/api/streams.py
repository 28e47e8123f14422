"""Answers that improve with time, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backbones.errors import DiffsightError
from service.http.problems import problem_response

MEDIA_TYPE = "text/event-stream"

Tell = Callable[[BaseModel], None]
Event = tuple[str, str]


def wants_events(request: Request) -> bool:
    """Whether the caller's Accept header names server-sent events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def events_response(description: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry of a route that streams for those who ask for it, for its `responses`."""
    return {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "description": description}}}}}


async def event_stream(request: Request, work: Callable[[Tell], Awaitable[BaseModel]]) -> Response:
    """What `work` tells as `progress` events, then its result as one `answer` event.

    An error before the first event is raised, and becomes a problem with its own status; a later one is a `problem`
    event, as the status has been sent. A client that hangs up ends the work.
    """
    told: asyncio.Queue[Event | None] = asyncio.Queue()

    async def run() -> None:
        try:
            answer = await work(lambda progress: told.put_nowait(("progress", progress.model_dump_json())))
            told.put_nowait(("answer", answer.model_dump_json()))
        finally:
            told.put_nowait(None)

    task = asyncio.create_task(run())
    try:
        first = await told.get()
    except BaseException:
        task.cancel()
        raise
    if first is None:
        await task
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_written(request, task, first, told), media_type=MEDIA_TYPE, headers=headers)


async def _written(
    request: Request, task: asyncio.Task[None], event: Event | None, told: asyncio.Queue[Event | None]
) -> AsyncIterator[bytes]:
    try:
        while event is not None:
            yield _event(*event)
            event = await told.get()
        try:
            await task
        except Exception as error:
            yield _event("problem", bytes(problem_response(error, request.scope).body).decode())
            if not isinstance(error, DiffsightError):
                raise
    finally:
        task.cancel()


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()
