"""The page's document names no other host."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio
from starlette.responses import HTMLResponse, PlainTextResponse

from playground.html import CleanDocuments, Message, Receive, Scope, Send, clean

TEMPLATE = (Path(gradio.__file__).parent / "templates" / "frontend" / "index.html").read_bytes()


def test_links_to_gradio_are_removed() -> None:
    cleaned = clean(TEMPLATE)
    assert b"https://" not in cleaned
    assert b"manifest" not in cleaned
    assert b'rel="icon"' in cleaned
    assert b"<gradio-app" in cleaned


def body_of(response: HTMLResponse | PlainTextResponse) -> tuple[bytes, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(CleanDocuments(app)({"type": "http", "method": "GET", "headers": []}, receive, send))
    return b"".join(message.get("body", b"") for message in sent), dict(sent[0]["headers"])


def test_documents_are_cleaned_and_other_answers_are_not() -> None:
    body, headers = body_of(HTMLResponse(TEMPLATE))
    assert body == clean(TEMPLATE)
    assert headers[b"content-length"] == str(len(body)).encode()
    assert body_of(PlainTextResponse(TEMPLATE))[0] == TEMPLATE
