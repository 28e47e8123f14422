"""The client against a scripted server, for failures, and against the real one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from diffsight_client import AccessDenied, BadInput, Busy, Client, RequestRefused, Retries, ServerFault, Unreachable
from diffsight_client.models import ProgressAnswer, ZeroShotAnswer
from tests.clients.python.diffsight_client.conftest import Reply, Script
from tests.conftest import Server

LIVE = {"status": "live"}
MUCH = {"title": "Overloaded", "detail": "4,096 rows wait", "hint": "ask again later"}
JOB = json.loads((Path(__file__).parent / "job.json").read_text())


def test_a_busy_server_is_tried_again_when_it_says(script: Script) -> None:
    script.answer(MUCH, 429, Retry_After="3")
    script.answer(MUCH, 503)
    script.answer(LIVE)
    waits: list[float] = []
    with Client(script.url, sleep=waits.append) as client:
        assert client.live().status == "live"
    assert waits == [3.0, 1.0]
    assert [request.path for request in script.requests] == ["/health/live"] * 3


def test_it_gives_up_with_the_servers_own_words(script: Script) -> None:
    for _ in range(3):
        script.answer(MUCH, 429, Retry_After="2")
    waits: list[float] = []
    with (
        Client(script.url, sleep=waits.append, retries=Retries(times=2)) as client,
        pytest.raises(Busy, match="4,096 rows wait; ask again later") as raised,
    ):
        client.live()
    assert (raised.value.hint, raised.value.retry_after) == ("ask again later", 2.0)
    assert waits == [2.0, 2.0]


def test_a_wait_past_the_bound_is_not_begun(script: Script) -> None:
    script.answer(MUCH, 503, Retry_After="3600")
    waits: list[float] = []
    with Client(script.url, sleep=waits.append) as client, pytest.raises(Busy):
        client.live()
    assert waits == []


def test_a_form_is_sent_again_whole(script: Script, png: bytes) -> None:
    script.answer(MUCH, 429, Retry_After="0")
    script.answer(JOB, 201)
    with Client(script.url, sleep=lambda _: None) as client:
        client.begin_job("depth", [png, io.BytesIO(png)])
    first, second = (request.body.count(png) for request in script.requests)
    assert first == second == 2


def test_an_answer_that_is_no_json_is_a_fault_with_its_text(script: Script) -> None:
    script.replies.append(Reply(502, b"<h1>Bad gateway</h1>"))
    with Client(script.url) as client, pytest.raises(ServerFault, match="Bad gateway"):
        client.live()


def test_a_key_goes_with_each_request(script: Script) -> None:
    script.answer({"detail": "a key is needed", "hint": "make one"}, 401)
    with Client(script.url, api_key="secret") as client, pytest.raises(AccessDenied, match="make one"):
        client.live()
    assert script.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_server_that_is_not_there_or_hangs_up_is_unreachable(script: Script) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match="/health/live"):
        client.live()
    script.replies.append(Reply(200, b"{", cut=10))
    with Client(script.url) as client, pytest.raises(Unreachable):
        client.live()


def test_a_stream_that_ends_early_or_badly_raises(script: Script, png: bytes) -> None:
    script.replies.append(Reply(200, b": here\n\n"))
    with Client(script.url) as client, pytest.raises(Unreachable, match="before the answer"):
        list(client.zero_shot_stream(png, labels=["a", "b"]))
    problem = json.dumps({"status": 504, "detail": "too late", "hint": "send fewer labels"}).encode()
    script.replies.append(Reply(200, b"event: problem\ndata: " + problem + b"\n\n"))
    with Client(script.url) as client, pytest.raises(Busy, match="send fewer labels"):
        list(client.zero_shot_stream(png, labels=["a", "b"]))


def test_an_http_client_that_the_caller_made_stays_open(script: Script) -> None:
    script.answer(LIVE)
    with httpx2.Client(base_url=script.url) as http:
        with Client(http=http) as client:
            client.live()
        assert not http.is_closed


def test_the_posterior_comes_as_it_improves(server: Server, png: bytes) -> None:
    options: dict[str, Any] = {"labels": ["one", "two", "seven"], "scheme": "race", "budget": 48}
    with Client(server.url) as client:
        *progress, last = client.zero_shot_stream(png, **options)
        answer = client.zero_shot(png, **options)
    assert progress
    assert all(isinstance(step, ProgressAnswer) for step in progress)
    assert [step.rows for step in progress] == sorted(step.rows for step in progress)
    assert isinstance(last, ZeroShotAnswer)
    assert {entry.label: round(entry.probability, 2) for entry in last.posterior} == {
        entry.label: round(entry.probability, 2) for entry in answer.posterior
    }


def test_a_stream_that_is_left_ends_the_servers_work(server: Server, png: bytes) -> None:
    with Client(server.url) as client:
        stream = client.zero_shot_stream(png, labels=["one", "two", "three"], scheme="race", confidence=1.0)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        while client.models().engine.open_requests:  # the request's end is the server's next turn
            pass


def test_a_task_by_its_name(server: Server, png: bytes) -> None:
    with Client(server.url) as client:
        answer = client.run("zero-shot", png, labels=["one", "two"], scheme="race", budget=16)
        assert answer.label in ("one", "two")  # type: ignore[attr-defined]
        assert client.run_file("depth", png, format="npy")[:6] == b"\x93NUMPY"
        vectors = client.run("features", [png, png]).vectors  # type: ignore[attr-defined]
        assert len(vectors) == 2
        mask = np.ones((30, 40), bool)
        shown = client.run("few-shot", png, support_images=[png], support_masks=[mask])
        assert shown.rows
        *_, last = client.run_stream("zero-shot", png, labels=["one", "two"], scheme="race", budget=16)
        assert last.model_dump()["label"] in ("one", "two")
        with pytest.raises(BadInput, match="zero-shot"):
            client.run("nothing", png)


def test_a_refused_request_is_reported_with_field_and_hint(server: Server, png: bytes) -> None:
    with Client(server.url) as client, pytest.raises(RequestRefused) as raised:
        client.depth(png, scene="moon")
    assert raised.value.field == "scene"
    assert raised.value.hint
    assert raised.value.hint in str(raised.value)
    assert raised.value.request_id
