"""The answer to a request whose replica is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.cluster.ray_package import NODE_ENVIRONMENT
from service.cluster.ray_proxy import MODEL_HEADER, AnswerForLost, NoteModel, middlewares

SCOPE = {"type": "http", "method": "POST", "path": "/v1/depth", "headers": []}


def answers_of(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    asyncio.run(AnswerForLost(app)(dict(SCOPE), receive, send))
    return sent


def make_app(status: int, *headers: tuple[bytes, bytes]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"x"})

    return app


async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Send no answer, as Ray's proxy after a replica has died."""


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the actor died")


def headers_of(start: Message) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in start["headers"]}


def test_a_lost_request_is_a_problem_that_says_when_to_send_it_again() -> None:
    for app in (answer_nothing, fail):
        start, body = answers_of(app)
        assert start["status"] == 503
        assert headers_of(start)["retry-after"] == "2"
        problem: dict[str, Any] = json.loads(body["body"])
        assert (problem["type"], problem["hint"]) == ("/problems/not-ready", "send it again")


def test_an_answer_passes_as_it_is() -> None:
    app = make_app(429, (b"retry-after", b"7"))
    start, body = answers_of(app)
    assert (start["status"], headers_of(start), body["body"]) == (429, {"retry-after": "7"}, b"x")
    assert headers_of(answers_of(make_app(200))[0]) == {}


def test_a_503_of_ray_itself_says_when_to_retry() -> None:
    assert headers_of(answers_of(make_app(503))[0])["retry-after"] == "2"
    assert headers_of(answers_of(make_app(503, (b"retry-after", b"9")))[0])["retry-after"] == "9"


def test_it_is_what_the_environment_of_a_node_names() -> None:
    module, name = NODE_ENVIRONMENT["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].split(":")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)
    classes: list[Any] = [middleware.cls for middleware in middlewares()]
    assert classes == [AnswerForLost, NoteModel]


@pytest.mark.parametrize(
    ("headers", "model"),
    [
        ([], "/v1/depth"),
        ([(MODEL_HEADER.lower().encode(), b"sdpose-body")], "sdpose-body"),
        ([(b"serve_multiplexed_model_id", b"x"), (b"accept", b"*/*")], "/v1/depth"),
    ],
)
def test_the_model_that_a_request_needs_is_noted_for_ray(headers: list[tuple[bytes, bytes]], model: str) -> None:
    passed: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    asyncio.run(NoteModel(app)({**SCOPE, "headers": headers}, None, None))  # type: ignore[arg-type]
    ((name, value),) = [header for header in passed[0]["headers"] if b"multiplexed" in header[0]]
    assert (name, value) == (b"serve-multiplexed-model-id", model.encode())
