"""GET /health/live and /health/ready, from before the start until the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from fastapi import FastAPI

from service.app import create_app
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer


def ask_in_process(app: FastAPI, *requests: tuple[str, str]) -> list[httpx2.Response]:
    """Answers of an app that was never started."""

    async def ask() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app") as client:
            return [await client.request(method, path) for method, path in requests]

    return asyncio.run(ask())


def test_before_the_backbone_is_loaded_only_liveness_is_good(check_problem: Any) -> None:
    app = create_app(load_settings())
    routes = [("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/v1/models"), ("POST", "/v1/features")]
    live, *others = ask_in_process(app, *routes)
    assert live.json() == {"status": "live"}
    for response in others:
        check_problem(response, 503, "not-ready")
        assert response.headers["retry-after"]


def test_a_backbone_that_is_not_there_is_reported_and_kept(
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
