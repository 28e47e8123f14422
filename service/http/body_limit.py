"""Bodies that are too large are refused before a route sees them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge
from service.http.problems import problem_response


class LimitBody:
    """ASGI middleware that answers 413 to a body over `max_bytes`, by its Content-Length or as soon as it is read.

    by_path: other bounds, of routes that do not hold their bodies in memory.

    What the client still sends afterwards is read and thrown away by the server, so that it sees the answer.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, by_path: Mapping[str, int] | None = None) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.by_path = by_path or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.by_path.get(scope["path"], self.max_bytes)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most:
            await problem_response(_too_large(f"{int(announced):,} bytes", most), scope)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large("the body goes on", most)
            return message

        await self.app(scope, counted, send)


def _too_large(what: str, most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"{what}; one request takes {most:,} bytes",
        hint="scale the image down, send it as a file instead of base64, or send fewer images",
    )
