"""service/http/body_limit.py on a real server: bodies that are too large are refused and leave no harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

PICTURE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def small(start_server: StartServer) -> Server:
    """A server that takes bodies of 4 KiB."""
    return start_server(limits={"max_upload_bytes": 4096})


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused(small: Server, check_problem: Any, content_type: str, chunked: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(64):
            yield b"0" * 1024

    content: Any = chunks() if chunked else b"".join(chunks())
    response = small.client.post("/v1/features", content=content, headers={"Content-Type": content_type})
    problem = check_problem(response, 413, "body-too-large")
    assert "4,096" in problem["detail"]


def test_a_server_works_on_after_refusing_bodies(small: Server, png: bytes) -> None:
    small.client.post("/v1/features", content=b"0" * 1_000_000, headers=PICTURE)
    assert small.client.get("/health/ready").status_code == 200
