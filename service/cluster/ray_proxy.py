"""Middleware for the HTTP proxies of Ray Serve: it answers requests that Ray leaves without an answer.

If the replica of a request dies, a proxy sends nothing, and uvicorn answers a bare 500. The request can be sent again,
so this middleware answers 503 with the seconds to wait.
"""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.problems import problem_response

RETRY_SECONDS = 2.0
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


def middlewares() -> list[Middleware]:
    """A proxy calls this at its start: see `NODE_ENVIRONMENT` of `ray_package`."""
    return [Middleware(AnswerForLost)]
