"""service/http/problems.py: every refusal is a problem with the same fields."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
from fastapi import FastAPI

from service.app import create_app
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from tests.conftest import Server


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


def test_a_500_contains_only_the_request_id(check_problem: Any) -> None:
    app = create_app(load_settings())

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("the secret inside")

    (response,) = ask_in_process(app, ("GET", "/fault"))
    problem = check_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert problem["request_id"]
