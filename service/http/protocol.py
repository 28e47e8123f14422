"""uvicorn's HTTP/1.1 protocol with deadlines: for the headers of a request, and for reading its answer.

uvicorn has no time limit for the head of a first request, for the rest of a body that was answered early, and for a
client that does not read its answer.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def make_bounded_protocol(head_seconds: float, answer_seconds: float) -> type[HttpToolsProtocol]:
    """The protocol class for uvicorn's option `http`, with the seconds of a `BoundedProtocol`."""
    return type("Protocol", (BoundedProtocol,), {"head_seconds": head_seconds, "answer_seconds": answer_seconds})


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection if no head of a request is complete after `head_seconds`.

    The time begins with the connection, or with the first byte after an answer. The rest of a body that was answered
    before its end has the same time.
    If a client reads no byte of an answer for `answer_seconds`, the connection is closed and the rest is dropped.
    """

    head_seconds = 30.0
    answer_seconds = 300.0
    _unread: asyncio.TimerHandle | None = None
    _unread_bytes = 0
    _late: asyncio.TimerHandle | None = None
    _in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for a head."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all time limits."""
        self._stop()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes between two requests begin a head, also blank lines, which the parser ignores."""
        super().data_received(data)
        if self._late is None and self._is_idle() and not self.transport.is_closing():
            self._start()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are complete."""
        self._in_head = False
        self._stop()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer is complete; its request's body may not be."""
        super().on_response_complete()
        self._watch_reader()
        if (self.cycle.more_body or self._in_head) and not self.transport.is_closing():
            self._start()

    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._watch_reader()

    def _watch_reader(self) -> None:
        """Check after `answer_seconds` whether the client has read a part of the buffer."""
        if self._unread is None and (waits := self.transport.get_write_buffer_size()):
            self._unread_bytes = waits
            self._unread = self.loop.call_later(self.answer_seconds, self._look_at_reader)

    def _look_at_reader(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() >= self._unread_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start(self) -> None:
        self._stop()
        self._late = self.loop.call_later(self.head_seconds, self.timeout_keep_alive_handler)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
