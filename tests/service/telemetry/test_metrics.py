"""service/telemetry/metrics.py: the metrics and their names."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from fastapi import FastAPI

from service.app import create_app
from service.http.problems import HTTP_PROBLEMS, PROBLEMS
from service.settings.loader import load_settings
from service.telemetry.metrics import REJECTIONS, metrics_table

if TYPE_CHECKING:
    from tests.conftest import Server


def test_reasons_are_problems() -> None:
    slugs = {kind.slug for kind in PROBLEMS.values()} | {kind.slug for kind, _ in HTTP_PROBLEMS.values()}
    assert set(REJECTIONS) <= slugs


def test_the_table_of_metrics_is_whole() -> None:
    table = metrics_table()
    for name in ("requests_total", "request_seconds", "queue_seconds", "rows_total", "batch_rows", "queue_rows"):
        assert f"`diffsight_{name}`" in table
    for name in ("cancelled_total", "rejected_total", "device_seconds_total"):
        assert f"`diffsight_{name}`" in table
    dashboard = Path(__file__).parents[3] / "docker/grafana/dashboards/engine.json"
    used = set(re.findall(r"\bdiffsight_\w+", dashboard.read_text()))
    assert all(re.sub(r"_(bucket|sum|count)$", "", name) in table for name in used)


PICTURE = {"Content-Type": "image/png"}


def ask_in_process(app: FastAPI, *requests: tuple[str, str]) -> list[httpx2.Response]:
    """Answers of an app that was never started."""

    async def ask() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app") as client:
            return [await client.request(method, path) for method, path in requests]

    return asyncio.run(ask())


def test_metrics_count_requests_rows_and_batches(server: Server, png: bytes) -> None:
    def value(sample: str) -> float:
        match = re.search(rf"^{re.escape(sample)} (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
        return float(match[1]) if match else 0.0

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
