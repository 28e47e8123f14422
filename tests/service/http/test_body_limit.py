"""service/http/body_limit.py: bodies that are too large, too slow or cut short are refused, and the server works on."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.types import Message, Scope

from service.errors import BodyTooSlow
from service.http.body_limit import LimitBody

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

PICTURE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def small_server(start_server: StartServer) -> Server:
    """A server that takes bodies of 4 KiB."""
    return start_server(limits={"max_upload_bytes": 4096})


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused(
    small_server: Server, check_problem: Any, content_type: str, chunked: bool
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(64):
            yield b"0" * 1024

    content: Any = chunks() if chunked else b"".join(chunks())
    response = small_server.client.post("/v1/features", content=content, headers={"Content-Type": content_type})
    problem = check_problem(response, 413, "body-too-large")
    assert "4,096" in problem["detail"]


def test_a_server_works_on_after_refusing_bodies(small_server: Server, png: bytes) -> None:
    small_server.client.post("/v1/features", content=b"0" * 1_000_000, headers=PICTURE)
    assert small_server.client.get("/health/ready").status_code == 200


def test_a_body_has_more_time_as_its_bytes_arrive() -> None:
    """A clock that the body itself moves: 40 seconds lie between two pieces of 100,000 bytes."""
    loop = asyncio.new_event_loop()
    now = 0.0
    loop.time = lambda: now  # type: ignore[method-assign]
    pieces = 0

    async def receive() -> Message:
        nonlocal now, pieces
        now, pieces = now + 40.0, pieces + 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": pieces < 9}

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(message: Message) -> None:
        pass

    scope: Scope = {"type": "http", "path": "/", "headers": [(b"transfer-encoding", b"chunked")]}

    def run(bytes_per_second: int) -> int:
        nonlocal now, pieces
        now, pieces = 0.0, 0
        limit = LimitBody(app, max_bytes=1 << 30, seconds=60.0, bytes_per_second=bytes_per_second)
        loop.run_until_complete(limit(scope, receive, send))
        return pieces

    try:
        assert run(2_000) == 9
        with pytest.raises(BodyTooSlow):
            run(4_000)
    finally:
        loop.close()


BODIES = [
    ("/v1/features", "image/png"),
    ("/v1/features", "application/json"),
    ("/v1/features", "application/zip"),
    ("/v1/classifiers/import", "application/octet-stream"),
    ("/v1/concepts", "multipart/form-data; boundary=x"),
    ("/label-studio/predict", "application/json"),
    ("/v1/jobs?task=features", "application/zip"),
    ("/v1/jobs", "multipart/form-data; boundary=x"),
]


def count_answers(server: Server, code: int) -> float:
    """Requests that were answered with this status, all routes together."""
    counts = re.findall(rf'diffsight_requests_total{{code="{code}",.*}} (.*)', server.client.get("/metrics").text)
    return sum(map(float, counts))


@pytest.mark.parametrize(("path", "content_type"), BODIES)
def test_a_client_that_hangs_up_during_its_upload_is_no_fault(server: Server, path: str, content_type: str) -> None:
    faults, disconnects = count_answers(server, 500), count_answers(server, 499)
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: 900000\r\n\r\n"
        connection.sendall(head.encode() + b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n')
    while count_answers(server, 499) == disconnects:
        assert count_answers(server, 500) == faults


def test_a_slow_body_is_answered_and_its_connection_closed(start_server: StartServer) -> None:
    server = start_server(limits={"deadline_seconds": 0.05})
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = (
            f"POST /v1/features HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 900000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/body-too-slow" in answer
