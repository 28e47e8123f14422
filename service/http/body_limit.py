"""Refuses bodies that are too large, too slow or cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, BodyTooSlow, ClientGone
from service.http.problems import problem_response


class LimitBody:
    """ASGI middleware that answers 413 to a body over `max_bytes`, by its Content-Length or as soon as it is read.

    by_path: other bounds, for routes that do not hold their bodies in memory. seconds, bytes_per_second: a body has
    `seconds`, and one more for each `bytes_per_second` bytes that have arrived; after that the answer is 408. A client
    that disconnects before its body's end is reported as such, and not as an error.

    The server reads and discards what the client still sends after a 413, so that the client sees the answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        by_path: Mapping[str, int] | None = None,
        seconds: float = 300.0,
        bytes_per_second: int = 16_384,
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.by_path = by_path or {}
        self.seconds = seconds
        self.bytes_per_second = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.by_path.get(scope["path"], self.max_bytes)
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most:
            await problem_response(_too_large(f"{int(announced):,} bytes", most), scope)(scope, receive, send)
            return
        started = asyncio.get_running_loop().time()
        read = 0
        # Without a body, or past its end, the next message is the end of the connection, which may come at any time.
        ended = b"transfer-encoding" not in headers and not (announced.isdigit() and int(announced))

        async def receive_bounded() -> Message:
            nonlocal read, ended
            if ended:
                return await receive()
            message: Message = {}
            with suppress(TimeoutError):  # as in `run_procedure`
                async with asyncio.timeout_at(started + self.seconds + read / self.bytes_per_second):
                    message = await receive()
            if not message:
                raise _too_slow(read)
            if message["type"] == "http.disconnect":
                raise ClientGone("the client disconnected before the end of its body")
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large("the body goes on", most)
            ended = not message.get("more_body", False)
            return message

        await self.app(scope, receive_bounded, send)


def _too_large(what: str, most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"{what}; one request takes {most:,} bytes",
        hint="scale the image down, send it as a file instead of base64, or send fewer images",
    )


def _too_slow(read: int) -> BodyTooSlow:
    return BodyTooSlow(
        f"{read:,} bytes of the body arrived within the time limit",
        hint="send it again over a faster connection, or send less",
    )
