"""Refuse requests with a too long head, chunk framing or trailers while they arrive: uvicorn has no bounds on them."""

from __future__ import annotations

import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import HeadTooLarge
from service.http.problems import MEDIA_TYPE, problem_of


def limit_head(protocol: type[HttpToolsProtocol], most_bytes: int) -> type[HttpToolsProtocol]:
    """The protocol class, for uvicorn's option `http`, with a bound on the bytes of a request outside its body.

    Beyond it the answer is 431, unless an answer has begun, and the connection is closed.
    """

    class LimitedHead(protocol):  # type: ignore[misc,valid-type]
        _beside = 0
        _body = 0

        def data_received(self, data: bytes) -> None:
            self._body = 0
            super().data_received(data)
            # Many small chunks have much framing: it may have up to twice the bytes of the body.
            self._beside = max(0, self._beside + len(data) - 3 * self._body)
            if self._beside > most_bytes and not self.transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_refusal(most_bytes))
                self.transport.close()

        def on_message_begin(self) -> None:
            self._beside = 0
            super().on_message_begin()

        def on_body(self, body: bytes) -> None:
            self._body += len(body)
            super().on_body(body)

    return LimitedHead


def _refusal(most_bytes: int) -> bytes:
    """A complete answer."""
    problem, _ = problem_of(
        HeadTooLarge(
            f"the head of a request has {most_bytes:,} bytes",
            hint="send options in the body instead of the query, and no cookies",
        )
    )
    status: Any = STATUS_LINE[problem.status]
    body = json.dumps(problem.model_dump()).encode()
    return b"".join(
        [
            status,
            b"content-type: " + MEDIA_TYPE.encode() + b"\r\ncontent-length: " + str(len(body)).encode(),
            b"\r\nconnection: close\r\n\r\n",
            body,
        ]
    )
