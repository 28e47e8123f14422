"""A small real HTTP server that sends scripted answers in order, and records the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. body: sent as it is; the connection is closed after it. cut: bytes that are announced and missing."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Script:
    """The remaining answers, and the requests so far."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[SentRequest] = field(default_factory=list)

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        """Add an answer of JSON. headers: `Retry_After="3"`."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.replies.append(Reply(status, json.dumps(value).encode(), named))


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.requests.append(SentRequest(self.command, self.path, dict(self.headers), body))
            reply = script.replies.pop(0)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            """Write no log."""

    return Handler


@pytest.fixture
def script() -> Iterator[Script]:
    """The script of a server that runs."""
    script = Script()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(script)) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()
