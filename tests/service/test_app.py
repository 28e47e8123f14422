"""service/app.py and its middleware, on real servers: problems, limits, ids, timings, metrics, readiness."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service.app import create_app

if TYPE_CHECKING:
    from tests.conftest import Server

PICTURE = {"Content-Type": "image/png"}


def test_a_request_id_is_made_or_kept(server: Server) -> None:
    made = [server.client.get("/health/live").headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    kept = server.client.get("/health/live", headers={"X-Request-ID": "mine-1.2:3_4"})
    assert kept.headers["x-request-id"] == "mine-1.2:3_4"


@pytest.mark.parametrize("request_id", ["", "with space", "x" * 129, '"quoted"', "sp\xe4th"])
def test_a_request_id_that_is_not_plain_is_replaced(server: Server, request_id: str) -> None:
    response = server.client.get("/health/live", headers={b"X-Request-ID": request_id.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


def test_server_timing_splits_the_time(server: Server, png: bytes) -> None:
    response = server.client.post("/v1/features", content=png, headers=PICTURE)
    stages = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert stages.keys() >= {"decode", "unet", "run", "total"}
    assert float(stages["total"]) >= float(stages["unet"]) > 0


def test_a_caller_with_settings_of_the_environment_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSIGHT_LIMITS__MAX_LABELS", "3")
    assert create_app().state.server.settings.limits.max_labels == 3
