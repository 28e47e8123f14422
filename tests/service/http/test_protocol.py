"""service/http/protocol.py: connections without a whole head, and answers that no client reads, by the test's clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.http.protocol import BoundedProtocol, make_bounded_protocol

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


class Timers:
    """The loop's timers, which the test rings: those that are set, with their seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.set: dict[int, tuple[float, Callable[[], None]]] = {}
        self.numbers = itertools.count()

    def call_later(self, seconds: float, function: Callable[[], None], *_: Any) -> Any:
        key = next(self.numbers)
        self.set[key] = (seconds, function)
        timers = self.set

        class Handle:
            def cancel(self) -> None:
                timers.pop(key, None)

        return Handle()

    def create_task(self, coroutine: Any, **_: Any) -> Any:
        return self.loop.create_task(coroutine)

    def ring(self, seconds: float) -> bool:
        """Ring the timer of so many seconds; returns whether there was one."""
        due = [self.set.pop(key)[1] for key, (after, _) in list(self.set.items()) if after == seconds]
        for function in due:
            function()
        return bool(due)


class Transport(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = False
        self.waiting = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answer_early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without reading the body."""
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def connect(run: Callable[[BoundedProtocol, Transport, Timers], Any]) -> None:
    """Run a test on a new connection, whose heads have 7 seconds."""

    async def main() -> None:
        config = uvicorn.Config(answer_early, log_config=None, timeout_keep_alive=5)
        timers, transport = Timers(asyncio.get_running_loop()), Transport()
        protocol = make_bounded_protocol(7.0, 11.0)(config, ServerState(), {}, timers)  # type: ignore[arg-type]
        assert isinstance(protocol, BoundedProtocol)
        protocol.connection_made(transport)
        await run(protocol, transport, timers)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST / HTTP/1.1\r\nHost"])
def test_a_connection_without_a_whole_head_is_closed(sent: bytes) -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        if sent:
            protocol.data_received(sent)
        assert timers.ring(7.0)
        assert transport.closed

    connect(run)


def test_a_request_that_is_being_answered_has_no_such_deadline() -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        protocol.data_received(HEAD)
        assert not timers.ring(7.0)
        protocol.data_received(b"hello")
        assert not timers.ring(7.0)
        protocol.connection_lost(None)

    connect(run)


@pytest.mark.parametrize("more", [b"\r\n", b"GET / HTT"])
def test_the_head_of_a_second_request_has_the_same_time(more: bytes) -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        protocol.data_received(HEAD + b"hello")
        await asyncio.sleep(0)
        assert b"413" in transport.written
        assert not timers.ring(7.0)
        protocol.data_received(more)
        assert timers.ring(7.0)
        assert transport.closed

    connect(run)


def test_the_rest_of_a_body_that_was_answered_early_has_the_same_time() -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        protocol.data_received(HEAD + b"he")
        await asyncio.sleep(0)
        assert b"413" in transport.written
        protocol.data_received(b"l")
        assert timers.ring(7.0)
        assert transport.closed

    connect(run)


def test_the_time_ends_with_the_head_of_the_next_request() -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        protocol.data_received(HEAD + b"he")
        await asyncio.sleep(0)
        protocol.data_received(b"llo" + HEAD)
        assert not timers.ring(7.0)
        assert not transport.closed

    connect(run)


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        transport.waiting = 100
        protocol.data_received(HEAD + b"hello")
        await asyncio.sleep(0)
        transport.waiting = 60  # the client reads some bytes, and its time starts again
        assert timers.ring(11.0)
        assert not transport.aborted
        assert timers.ring(11.0)
        assert transport.aborted

    connect(run)


def test_an_answer_that_the_client_has_read_is_no_longer_watched() -> None:
    async def run(protocol: BoundedProtocol, transport: Transport, timers: Timers) -> None:
        transport.waiting = 100
        protocol.pause_writing()
        transport.waiting = 0
        assert timers.ring(11.0)
        assert not timers.ring(11.0)
        protocol.pause_writing()
        assert not timers.ring(11.0)
        assert not transport.aborted

    connect(run)
