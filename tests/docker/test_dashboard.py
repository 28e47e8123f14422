"""Every metric and label that the dashboard asks for is one that a real server exposes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer
from tests.docker.stack import DOCKER, read

DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/engine.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
ANY = "any label"
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="module")
def exposed_metrics(start_server: StartServer, png: bytes) -> dict[str, set[str]]:
    """Metric name -> its labels, of a server that answered one request and refused one; ANY without samples."""
    server = start_server(limits={"max_upload_bytes": 100_000})
    data = {"labels": ["one", "seven"]}
    client = server.client
    client.post("/v1/classify/zero-shot", files={"image": png}, data=data).raise_for_status()
    assert client.post("/v1/classify/zero-shot", files={"image": b"0" * 200_000}, data=data).status_code == 413
    text = client.get("/metrics").text
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
        if not family.samples:
            names |= {f"{family.name}{ending}": {ANY} for ending in ENDINGS[family.type]}
    return names


def names_of(query: str) -> set[str]:
    return set(re.findall(r"\bdiffsight_\w+", query))


def labels_of(query: str) -> Iterator[str]:
    for selector in re.findall(r"\{([^}]*)\}", query):
        yield from re.findall(r"(\w+)\s*[=!]~?", re.sub(r'"[^"]*"', '""', selector))
    for grouping in re.findall(r"\bby \(([^)]*)\)", query):
        yield from grouping.replace(" ", "").split(",")


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
def test_a_query_asks_for_what_the_server_exposes(query: str, exposed_metrics: dict[str, set[str]]) -> None:
    if query.startswith("up{"):  # Prometheus' own, about the scrape
        return
    names = names_of(query)
    assert names
    assert names <= set(exposed_metrics)
    for name in names:
        assert exposed_metrics[name] == {ANY} or set(labels_of(query)) <= exposed_metrics[name] | {"le"}


def test_the_task_variable_asks_for_what_the_server_exposes(exposed_metrics: dict[str, set[str]]) -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert match is not None
    assert match[2] in exposed_metrics[match[1]]


@pytest.mark.parametrize(
    ("subject", "metric"),
    [
        ("rows by task", "diffsight_rows_total"),
        ("batch sizes", "diffsight_batch_rows_bucket"),
        ("the queue", "diffsight_queue_rows"),
        ("latency", "diffsight_request_seconds_bucket"),
        ("rejections", "diffsight_rejected_total"),
        ("cancelled rows", "diffsight_cancelled_total"),
        ("the device", "diffsight_device_seconds_total"),
        ("cache hits", "diffsight_cache_hits_total"),
        ("errors by code", "diffsight_requests_total"),
    ],
)
def test_the_dashboard_shows(subject: str, metric: str) -> None:
    assert any(metric in names_of(query) for query in QUERIES), subject


def test_batch_sizes_are_a_heat_map_of_buckets() -> None:
    (panel,) = [panel for panel in PANELS if panel["type"] == "heatmap"]
    (target,) = panel["targets"]
    assert target["format"] == "heatmap"
    assert "sum by (le)" in target["expr"]


def test_panels_are_numbered_and_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        assert max(x for x, _ in covered) < 24
        cells |= covered
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_panel_reads_the_provisioned_source() -> None:
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    scrape = read("prometheus/prometheus.yml")
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    assert scrape["scrape_configs"][0]["job_name"] == "diffsight"
