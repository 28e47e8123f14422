"""Removes from the page's first document the elements that name other hosts or missing files."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Browsers request the manifest of an installable app at the root, where the API is. The other elements describe Gradio
# to search engines and name pictures on other hosts.
_FOREIGN = re.compile(rb'\s*<(?:link\s+rel="manifest"|meta\s+(?:property="og:|name="twitter:))[^>]*>')

WAITING = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>diffsight playground</title></head><body style="font-family:system-ui,sans-serif;margin:3em">
<h1>diffsight playground</h1><p role="status">The server does not answer yet: %s</p>
<p>This page looks again every three seconds.</p></body></html>"""


# A browser requests /favicon.ico at the root if a page names no icon.
_ICON = (
    b"<link rel=\"icon\" href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    b"<circle cx='8' cy='8' r='7' fill='%2323568b'/><circle cx='8' cy='8' r='3' fill='white'/></svg>\" />"
)


def clean(document: bytes) -> bytes:
    """The document without those elements, and with an icon of its own."""
    return _FOREIGN.sub(b"", document).replace(b"<head>", b"<head>" + _ICON, 1)


class CleanDocuments:
    """ASGI middleware that cleans HTML answers and leaves all others unchanged."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start: Message = {}
        body = b""

        async def send_clean(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_html(message):
                start = message
            elif message["type"] == "http.response.body" and start:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    cleaned = clean(body)
                    kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
                    length = (b"content-length", str(len(cleaned)).encode())
                    await send({**start, "headers": [*kept, length]})
                    await send({**message, "body": cleaned})
            else:
                await send(message)

        await self.app(scope, receive, send_clean)


def _is_html(message: Message) -> bool:
    headers = {name.lower(): value for name, value in message.get("headers", ())}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers
