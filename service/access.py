"""What is refused before a route sees it: bodies larger than the settings allow."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import BodyTooLarge, problem_response


class LimitBody:
    """ASGI middleware that answers 413 to a body over `max_bytes`, by its Content-Length or as soon as it is read.

    What the client still sends afterwards is read and thrown away by the server, so that it sees the answer.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await problem_response(self._too_large(f"{int(announced):,} bytes"), scope)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise self._too_large("the body goes on")
            return message

        await self.app(scope, counted, send)

    def _too_large(self, what: str) -> BodyTooLarge:
        return BodyTooLarge(
            f"{what}; one request takes {self.max_bytes:,} bytes",
            hint="scale the image down, send it as a file instead of base64, or send fewer images",
        )
