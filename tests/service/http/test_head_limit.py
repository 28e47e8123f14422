"""A head, or trailers, without end are refused while they arrive; long bodies in small chunks are not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.http.head_limit import limit_head

MOST = 5000


class Transport(asyncio.Transport):
    """The transport of a protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def count_body(scope: Any, receive: Any, send: Any) -> None:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def send_pieces(*pieces: bytes) -> Transport:
    """The answer to these pieces of one connection."""

    async def run() -> Transport:
        config = uvicorn.Config(count_body, http=limit_head(HttpToolsProtocol, MOST), log_config=None)
        config.load()
        protocol = limit_head(HttpToolsProtocol, MOST)(config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                protocol.data_received(piece)
                await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        closed = transport.closed
        protocol.connection_lost(None)
        transport.closed = closed
        return transport

    return asyncio.run(run())


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def test_one_header_that_does_not_end_is_refused() -> None:
    transport = send_pieces(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ", *[b"a" * 1000] * 100)
    head, _, body = transport.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert b"connection: close" in head
    problem = json.loads(body)
    assert (problem["status"], problem["type"]) == (431, "/problems/head-too-large")
    assert problem["hint"]
    assert transport.closed


def test_many_headers_and_a_long_address_are_refused_alike() -> None:
    assert send_pieces(b"GET / HTTP/1.1\r\n", *[b"a: b\r\n" * 200] * 20).closed
    assert send_pieces(b"GET /", *[b"a" * 1000] * 20).closed


def test_trailers_without_end_are_refused() -> None:
    transport = send_pieces(CHUNKED, b"1\r\na\r\n0\r\n", *[b"x-more: b\r\n" * 100] * 20)
    assert transport.closed


def test_usual_requests_and_long_bodies_in_small_chunks_are_answered() -> None:
    assert b"HTTP/1.1 200" in send_pieces(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"b" * 4000 + b"\r\n\r\n").sent
    transport = send_pieces(CHUNKED, *[b"4\r\nabcd\r\n" * 100] * 50, b"0\r\n\r\n")
    assert b"HTTP/1.1 200" in transport.sent
    assert b"20000" in transport.sent


def test_the_heads_of_one_connection_count_each_by_itself() -> None:
    transport = send_pieces(*[b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"b" * 3000 + b"\r\n\r\n"] * 5)
    assert not transport.closed
