"""service/run_task.py on real servers: many at once, hung-up clients, overload, deadlines."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx2
import pytest

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

ROUTE = "/v1/classify/zero-shot"
PICTURE = {"Content-Type": "image/png"}
# Thousands of rows: far more than the device runs during a test.
LONG = {"labels": [f"label {index}" for index in range(100)], "schedule": "published", "loss": "l2"}


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until the condition is true; fail if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        threading.Event().wait(0.01)


@contextmanager
def hanging_request(server: Server, png: bytes) -> Iterator[socket.socket]:
    """A long request that was sent and is being worked on; the socket is the client's end."""
    rows = sum(server.state.models.worker.figures().rows_by_task.values())
    query = urlencode(LONG, doseq=True)
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST {ROUTE}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(png)}\r\n\r\n"
    )
    with closing(socket.create_connection((host, int(port)))) as connection:
        connection.sendall(head.encode() + png)
        until(lambda: server.state.models.worker.figures().rows_total > rows)
        yield connection


def test_sixteen_at_once_answer_as_each_alone(server: Server, png: bytes, odd_images: dict[str, bytes]) -> None:
    pictures = [png, odd_images["grey.png"], odd_images["turned.jpg"], odd_images["palette_transparent.png"]]
    bodies = [
        {
            "image": base64.b64encode(pictures[index % 4]).decode(),
            "labels": ["a zero", "a one", "a two"][: 2 + index % 2],
            "schedule": {"n_samples": [2, 3 + index % 3], "to_keep": [2, 1]} if index % 2 else "default",
            "templates": ["a handwritten {}"],
            "trials": 1,
        }
        for index in range(16)
    ]
    for body in bodies:
        if body["schedule"] == "default":
            body["schedule"] = {"n_samples": [3], "to_keep": [1]}
    alone = [server.client.post(ROUTE, json=body).json() for body in bodies]
    with ThreadPoolExecutor(16) as pool:
        together = [answer.json() for answer in pool.map(lambda body: server.client.post(ROUTE, json=body), bodies)]
    for result, other in zip(alone, together, strict=True):
        assert [each["label"] for each in result["posterior"]] == [each["label"] for each in other["posterior"]]
        for before, after in zip(result["posterior"], other["posterior"], strict=True):
            assert after["mean_error"] == pytest.approx(before["mean_error"], rel=1e-4)
            assert after["probability"] == pytest.approx(before["probability"], abs=1e-3)


def test_a_hung_up_client_has_its_rows_dropped(server: Server, png: bytes) -> None:
    before = server.state.models.worker.figures()
    with hanging_request(server, png):
        assert server.state.models.worker.figures().waiting_rows > 0
    until(lambda: server.state.models.worker.figures().requests_open == 0)
    after = server.state.models.worker.figures()
    assert after.waiting_rows == 0
    assert after.cancelled_rows_total > before.cancelled_rows_total
    assert after.rows_total - before.rows_total < 1000
    until(lambda: 'diffsight_requests_total{code="499",task="zero-shot"}' in server.client.get("/metrics").text)


def test_others_are_answered_while_a_long_request_runs(server: Server, png: bytes) -> None:
    with hanging_request(server, png):
        answer = server.client.post("/v1/features", content=png, headers=PICTURE)
        assert answer.status_code == 200
        assert server.state.models.worker.figures().waiting_rows > 0
    until(lambda: server.state.models.worker.figures().requests_open == 0)


def test_a_full_queue_is_answered_429_with_when_to_retry(
    start_server: StartServer, png: bytes, check_problem: Any
) -> None:
    server = start_server(engine={"max_waiting_rows": 16})
    with hanging_request(server, png):
        response = server.client.post("/v1/features", files=[("image", png)] * 3, data={"noise_samples": 7})
        check_problem(response, 429, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert server.client.get("/v1/models").json()["engine"]["queue_fraction"] > 0
    until(lambda: server.state.models.worker.figures().requests_open == 0)
    assert server.client.post("/v1/features", content=png, headers=PICTURE).status_code == 200
    assert 'diffsight_rejected_total{reason="overloaded"} 1.0' in server.client.get("/metrics").text


def test_the_servers_own_deadline_holds_where_none_or_a_later_one_is_given(
    start_server: StartServer, png: bytes, check_problem: Any
) -> None:
    server = start_server(limits={"deadline_seconds": 0.3})
    for options in ({}, {"deadline_seconds": 1000}):
        response = server.client.post(ROUTE, content=png, params={**LONG, **options}, headers=PICTURE)
        problem = check_problem(response, 504, "deadline-passed")
        assert "0.3" in problem["detail"] or "deadline" in problem["detail"]
    until(lambda: server.state.models.worker.figures().requests_open == 0)
    assert server.state.models.worker.figures().waiting_rows == 0


def test_a_server_that_stops_answers_waiting_requests(
    start_server: StartServer, png: bytes, check_problem: Any
) -> None:
    server = start_server()
    body = {"image": base64.b64encode(png).decode(), **LONG}
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=server.url, timeout=60) as client:
        waiting = pool.submit(client.post, ROUTE, json=body)
        until(lambda: server.state.models.worker.figures().waiting_rows > 0)
        server.state.models.stop()
        check_problem(waiting.result(), 503, "stopping")
    check_problem(server.client.post("/v1/features", content=png, headers=PICTURE), 503, "not-ready")


def test_a_default_schedule_that_cannot_end_in_time_is_refused_with_what_fits(
    start_server: StartServer, png: bytes, check_problem: Any
) -> None:
    server = start_server(limits={"deadline_seconds": 0.2})
    query = {"labels": [f"label {index}" for index in range(400)]}
    problem = check_problem(server.client.post(ROUTE, content=png, params=query, headers=PICTURE), 422, "invalid-input")
    assert "on this server at least; the request has 0.2" in problem["detail"]
    assert "scheme=race with budget=" in problem["hint"]


def test_stage_seconds_of_tasks_at_once_add_up_to_the_wall_at_most(server: Server, png: bytes) -> None:
    started = time.perf_counter()
    body = {"image": base64.b64encode(png).decode(), "tasks": {"depth": {}, "pose": {}, "features": {}}}
    answer = server.client.post("/v1/perceive", json=body).json()
    assert sum(answer["timing"]["seconds"].values()) <= time.perf_counter() - started
