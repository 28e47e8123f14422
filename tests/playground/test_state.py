"""State that the panels share."""

from __future__ import annotations

import gradio as gr
from starlette.requests import Request

from playground.description import ServerDescription
from playground.state import Page, samples
from tests.conftest import Server

NOTHING = ServerDescription("1", (), frozenset(), ())


def request(**headers: str) -> gr.Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return gr.Request(Request({"type": "http", "headers": raw, "query_string": b"", "path": "/"}))


def test_readers_are_shown_the_address_that_they_use() -> None:
    own, public = Page("http://127.0.0.1:8000", False, NOTHING, None), Page("https://a.org", True, NOTHING, None)
    assert own.address(request(host="a.org", x_forwarded_proto="https")) == "https://a.org"
    assert own.address(request(host="here:8000")) == "http://here:8000"
    assert own.address(None) == "http://127.0.0.1:8000"
    assert public.address(request(host="localhost:7860")) == "https://a.org"


def test_a_list_of_a_server_that_refuses_is_empty(server: Server) -> None:
    assert Page(server.url, True, NOTHING, None).choices("", "nothing")["choices"] == []
    assert Page("http://127.0.0.1:9", True, NOTHING, None).choices("", "concepts")["choices"] == []


def test_samples_are_pictures() -> None:
    assert len(samples()) == 7
