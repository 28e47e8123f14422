"""service/app.py and what wraps it, on real servers: problems, limits, ids, timings, metrics, readiness."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

PICTURE = {"Content-Type": "image/png"}


def ask_in_process(app: FastAPI, *requests: tuple[str, str]) -> list[httpx2.Response]:
    """Answers of an app that was never started."""

    async def ask() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app") as client:
            return [await client.request(method, path) for method, path in requests]

    return asyncio.run(ask())


def test_an_unknown_route_is_a_problem(server: Server, check_problem: Any) -> None:
    check_problem(server.client.get("/v1/nothing"), 404, "not-found")


def test_a_wrong_method_is_a_problem_with_the_right_ones(server: Server, check_problem: Any) -> None:
    for path, allowed in (
        ("/v1/features", "POST"),
        ("/v1/jobs", "GET, POST"),
        ("/v1/jobs/mine", "DELETE, GET"),
        ("/v1/classifiers/import", "POST"),
        ("/v1/concepts/mine", "DELETE, GET, PATCH"),
    ):
        response = server.client.put(path)
        check_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == allowed


def test_a_fault_tells_only_its_id(check_problem: Any) -> None:
    app = create_app(load_settings())

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("the secret inside")

    (response,) = ask_in_process(app, ("GET", "/fault"))
    problem = check_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert problem["request_id"]


def test_before_the_backbone_is_loaded_only_liveness_is_good(check_problem: Any) -> None:
    app = create_app(load_settings())
    routes = [("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/v1/models"), ("POST", "/v1/features")]
    live, *others = ask_in_process(app, *routes)
    assert live.json() == {"status": "live"}
    for response in others:
        check_problem(response, 503, "not-ready")
        assert response.headers["retry-after"]


def test_a_backbone_that_is_not_there_is_told_and_kept(
    start_server: StartServer, tmp_path: Path, check_problem: Any
) -> None:
    server = start_server(backbone=str(tmp_path))
    for path in ("/health/live", "/health/ready", "/v1/models"):
        problem = check_problem(server.client.get(path), 503, "not-ready")
        assert str(tmp_path) not in str(problem)
    assert server.state.models.failure is not None


def test_a_ready_server_says_so(server: Server) -> None:
    assert server.client.get("/health/live").json() == {"status": "live"}
    assert server.client.get("/health/ready").json() == {"status": "ready"}


def test_models_describes_the_backbone_and_the_engine(server: Server) -> None:
    answer = server.client.get("/v1/models").json()
    assert answer["backbone"]["name"] == "pocket"
    assert answer["backbone"]["device"] == "cpu"
    assert answer["backbone"]["training_steps"] == 1000
    assert {task["task"] for task in answer["tasks"]} == {
        "zero_shot",
        "features",
        "depth",
        "segmentation",
        "referring",
        "few_shot",
        "pose",
    }
    assert answer["engine"]["max_waiting_rows"] == server.state.settings.engine.max_waiting_rows


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


def test_a_request_id_is_made_or_kept(server: Server) -> None:
    made = [server.client.get("/health/live").headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    kept = server.client.get("/health/live", headers={"X-Request-ID": "mine-1.2:3_4"})
    assert kept.headers["x-request-id"] == "mine-1.2:3_4"


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, '"quoted"', "sp\xe4th"])
def test_a_request_id_that_is_not_plain_is_replaced(server: Server, given: str) -> None:
    response = server.client.get("/health/live", headers={b"X-Request-ID": given.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


def test_server_timing_splits_the_time(server: Server, png: bytes) -> None:
    response = server.client.post("/v1/features", content=png, headers=PICTURE)
    stages = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert stages.keys() >= {"decode", "unet", "run", "total"}
    assert float(stages["total"]) >= float(stages["unet"]) > 0


def test_metrics_count_requests_rows_and_batches(server: Server, png: bytes) -> None:
    def value(sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    samples = [
        'diffsight_requests_total{code="200",task="features"}',
        'diffsight_rows_total{task="features"}',
        'diffsight_request_seconds_count{task="features"}',
        "diffsight_batch_rows_count",
        "diffsight_device_seconds_total",
    ]
    before = [value(sample) for sample in samples]
    assert server.client.post("/v1/features", content=png, headers=PICTURE).status_code == 200
    after = [value(sample) for sample in samples]
    assert [after[0] - before[0], after[1] - before[1], after[2] - before[2]] == [1, 1, 1]
    assert after[3] > before[3]
    assert after[4] > before[4]
    text = server.client.get("/metrics").text
    for name in ("queue_rows", "cancelled_total", "batches_total", "cache_bytes", "cache_hits_total"):
        assert f"diffsight_{name}" in text


def test_two_apps_in_one_process_do_not_share_metrics(server: Server) -> None:
    (response,) = ask_in_process(create_app(load_settings()), ("GET", "/metrics"))
    assert "diffsight_rows_total" not in response.text


def test_a_caller_with_settings_of_the_environment_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSIGHT_LIMITS__MAX_LABELS", "3")
    assert create_app().state.state.settings.limits.max_labels == 3
