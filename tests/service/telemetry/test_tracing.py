"""service/telemetry/tracing.py: real spans of a real server, as a collector gets them over OTLP."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.conftest import Server, running_server

ROUTE = "/v1/classify/zero-shot"
PICTURE = {"Content-Type": "image/png"}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Spans = list[Span]


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector over HTTP: its URL, and the received bodies."""
    sent: list[ExportTraceServiceRequest] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collect) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", sent
        finally:
            httpd.shutdown()
            thread.join()


def spans_of(send_requests: Callable[[Server], object], **settings: Any) -> Spans:
    """The spans that a server sends until it has stopped, for the requests of `send_requests`."""
    with collector() as (url, sent):
        with running_server(telemetry={"otlp_endpoint": url, **settings}) as server:
            send_requests(server)
        resources = [part.resource for request in sent for part in request.resource_spans]
        for resource in resources:
            assert {attribute.key: attribute.value.string_value for attribute in resource.attributes}[
                "service.name"
            ] == "diffsight"
        return [
            s for request in sent for part in request.resource_spans for scope in part.scope_spans for s in scope.spans
        ]


def attributes(span: Span) -> dict[str, str | int]:
    return {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in span.attributes}


@pytest.fixture(scope="module")
def traced_requests(png: bytes) -> dict[str, Any]:
    """The spans of a server that got several requests, by the id of each, and its answers."""
    answers: dict[str, Any] = {}

    def ask(server: Server) -> None:
        client = server.client
        # A new request: its texts and its image are in no cache.
        query = "labels=a zero&labels=a one&labels=a two&token=hunter2"
        answers["refused"] = client.post(f"{ROUTE}?{query}", content=png, headers=PICTURE)
        data = {"labels": ["a zero", "a one", "a two"], "deadline_seconds": "60"}
        answers["zero_shot"] = client.post(
            ROUTE, files={"image": png}, data=data, headers={"traceparent": CALLER, "X-Request-ID": "traced-1"}
        )
        answers["features"] = client.post("/v1/features", files=[("image", png)] * 3)
        answers["nowhere"] = client.request("PROPFIND", "/nowhere/at/all")
        answers["live"] = client.get("/health/live")
        answers["metrics"] = client.get("/metrics")
        answers["unsampled"] = client.get("/v1/models", headers={"traceparent": CALLER.replace("-01", "-00")})

    spans = spans_of(ask)
    by_trace: dict[str, Spans] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id.hex(), []).append(span)
    return {"answers": answers, "spans": by_trace, "all": spans}


def trace_of(traced_requests: dict[str, Any], name: str) -> Spans:
    spans: Spans = traced_requests["spans"][traced_requests["answers"][name].headers["traceparent"].split("-")[1]]
    return spans


def test_a_request_is_one_trace_below_the_callers_own(traced_requests: dict[str, Any]) -> None:
    assert traced_requests["answers"]["zero_shot"].status_code == 200
    spans = trace_of(traced_requests, "zero_shot")
    (root,) = [span for span in spans if span.parent_span_id.hex() == "b7ad6b7169203331"]
    assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.name == f"POST {ROUTE}"
    ids = {span.span_id for span in spans}
    assert all(span.parent_span_id in ids for span in spans if span is not root)
    assert (
        traced_requests["answers"]["zero_shot"].headers["traceparent"]
        == f"00-{root.trace_id.hex()}-{root.span_id.hex()}-01"
    )


def test_every_stage_is_a_span_within_its_parents_time(traced_requests: dict[str, Any]) -> None:
    spans = trace_of(traced_requests, "zero_shot")
    assert {span.name for span in spans} >= {"admit", "decode", "host", "encode", "embed", "step", "queue", "head"}
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if (parent := by_id.get(span.parent_span_id)) is not None:
            # Two clocks: spans have wall time, the waits for the device were measured with a finer one.
            assert span.start_time_unix_nano >= parent.start_time_unix_nano - 2_000_000
            assert span.end_time_unix_nano <= parent.end_time_unix_nano + 2_000_000
    first = {name: min(s.start_time_unix_nano for s in spans if s.name == name) for name in ("admit", "decode", "step")}
    assert first["admit"] < first["decode"] < first["step"]


def test_a_wait_for_the_device_lies_within_the_stage_that_waited(traced_requests: dict[str, Any]) -> None:
    spans = trace_of(traced_requests, "zero_shot")
    by_id = {span.span_id: span for span in spans}
    waits = [span for span in spans if span.name == "queue"]
    assert {by_id[wait.parent_span_id].name for wait in waits} >= {"encode", "embed", "step"}
    device_spans = [span for span in spans if span.name in ("encode", "embed", "step", "head", "vae_decode")]
    assert len(waits) <= len(device_spans)


def test_spans_say_the_work_and_its_network(traced_requests: dict[str, Any]) -> None:
    spans = trace_of(traced_requests, "zero_shot")
    answer = traced_requests["answers"]["zero_shot"].json()
    root = attributes(next(span for span in spans if span.kind == Span.SPAN_KIND_SERVER))
    assert root["http.route"] == ROUTE
    assert root["http.response.status_code"] == 200
    assert root["diffsight.request_id"] == "traced-1"
    assert root["diffsight.rows"] == answer["rows"]
    steps = [attributes(span) for span in spans if span.name == "step"]
    assert sum(int(step["diffsight.rows"]) for step in steps) == answer["rows"]
    for step in steps:
        assert step["diffsight.task"] == "zero-shot"
        assert step["diffsight.backbone"] == "pocket"
        assert step["diffsight.labels"] == 3


def test_a_refused_request_says_why_and_not_what_was_in_its_query(traced_requests: dict[str, Any]) -> None:
    (span,) = trace_of(traced_requests, "refused")
    assert attributes(span)["error.type"] == "invalid-input"
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert "hunter2" not in str(traced_requests["all"])


def test_features_are_reported_as_well(traced_requests: dict[str, Any]) -> None:
    spans = trace_of(traced_requests, "features")
    assert {span.name for span in spans} >= {"POST /v1/features", "admit", "decode", "encode", "step"}
    assert [attributes(span)["diffsight.images"] for span in spans if span.name == "decode"] == [3]


def test_span_names_hold_no_text_of_the_callers(traced_requests: dict[str, Any]) -> None:
    (span,) = trace_of(traced_requests, "nowhere")
    assert span.name == "HTTP"


@pytest.mark.parametrize("name", ["live", "metrics"])
def test_requests_of_supervisors_are_not_traced(traced_requests: dict[str, Any], name: str) -> None:
    assert "traceparent" not in traced_requests["answers"][name].headers


def test_a_caller_that_does_not_sample_is_not_traced(traced_requests: dict[str, Any]) -> None:
    assert traced_requests["answers"]["unsampled"].headers["traceparent"].endswith("-00")
    assert not [span for span in traced_requests["all"] if span.name == "GET /v1/models"]


def test_a_collector_that_is_down_causes_no_failure(png: bytes) -> None:
    with running_server(telemetry={"otlp_endpoint": "http://127.0.0.1:9"}) as server:
        assert server.client.post("/v1/features", content=png, headers=PICTURE).status_code == 200


def test_without_an_endpoint_nothing_is_sent(server: Server) -> None:
    assert "traceparent" not in server.client.get("/v1/models", headers={"traceparent": CALLER}).headers


SERVE = """
import sys
sys.modules["opentelemetry.sdk"] = None
from diffsight.cli import main
sys.argv = ["diffsight", "serve", "--port", "0"]
main()
"""


def test_without_the_extra_the_server_says_what_to_install() -> None:
    wanted = {"DIFFSIGHT_TELEMETRY__OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env={**os.environ, **wanted}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert re.search(r"pip install\s+'diffsight\[otel\]'", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_endpoint_the_sdk_is_not_imported() -> None:
    code = "import sys; from service.app import create_app; create_app(); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
