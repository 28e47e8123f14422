"""The bound on the texts of a form that is received on disk holds for all of them together."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.inputs import long_forms
from service.inputs.long_forms import read_long_form


def request_of(parts: list[str]) -> Request:
    body = "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + b"--b--\r\n"
    chunks = [body[at : at + 50] for at in range(0, len(body), 50)]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def text(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


def file(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n{value}'


async def names_of(parts: list[str]) -> list[str]:
    async with read_long_form(request_of(parts), max_files=5, max_fields=5) as form:
        return [name for name, _ in form.multi_items()]


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_forms, "MOST_TEXT_BYTES", 100)


@pytest.mark.anyio
async def test_files_do_not_count() -> None:
    assert await names_of([text("task", "x" * 90), file("file", "y" * 900)]) == ["task", "file"]


@pytest.mark.anyio
async def test_texts_count_together() -> None:
    with pytest.raises(HTTPException) as refused:
        await names_of([text("urls", "x" * 60), text("urls", "x" * 60)])
    assert "its texts have more than 100 bytes" in str(refused.value.detail)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
