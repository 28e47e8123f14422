"""Middleware for the HTTP proxies of Ray Serve.

`AnswerForLost` answers requests that Ray leaves without an answer: if the replica of a request dies, a proxy sends
nothing, and uvicorn answers a bare 500. The request can be sent again, so it is answered 503 with the seconds to wait.
`NoteModel` notes on each request which model it needs, so that `model_router` can choose a replica that holds it.
"""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.problems import problem_response

RETRY_SECONDS = 2.0
MODEL_HEADER = "Diffsight-Model"
"""In a request: the `model` of its body, for a proxy that does not read bodies."""
_RAY_HEADER = b"serve-multiplexed-model-id"
log = logging.getLogger("ray.serve")


class AnswerForLost:
    """ASGI middleware: 503 with `Retry-After` for a request that got no answer, and that header for Ray's own 503."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                if message["status"] == 503:
                    headers.setdefault("Retry-After", f"{RETRY_SECONDS:.0f}")
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if started:
                raise
            log.exception("a request was lost")
        if not started:
            lost = NotReady(
                "the replica that worked on this request was lost",
                hint="send it again",
                retry_after_seconds=RETRY_SECONDS,
            )
            await problem_response(lost, scope)(scope, receive, send)


class NoteModel:
    """ASGI middleware: notes in Ray's header the model that a request names in ours, else the path of its task."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            model = Headers(scope=scope).get(MODEL_HEADER) or scope["path"]
            others = [(name, value) for name, value in scope["headers"] if name.replace(b"_", b"-") != _RAY_HEADER]
            scope = {**scope, "headers": [*others, (_RAY_HEADER, model.encode())]}
        await self.app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """A proxy calls this at its start: see `NODE_ENVIRONMENT` of `ray_package`."""
    return [Middleware(AnswerForLost), Middleware(NoteModel)]
