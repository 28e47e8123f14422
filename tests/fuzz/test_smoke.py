"""A short `make fuzz` in every run of the tests, and a proof that it finds faults."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.inputs.images import decode_image
from tests.conftest import Server
from tests.fuzz.api import Findings, fuzz_api, fuzz_uploads, fuzzed_server, wrong_problem
from tests.fuzz.bodies import fuzz_bodies
from tests.fuzz.images import LIMITS, crash, damage_images, seed_images
from tests.fuzz.sources import fuzz_archives

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def fuzz_target() -> Iterator[Server]:
    with fuzzed_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _decoders_may_complain() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def test_every_seed_is_an_image_that_is_read() -> None:
    for name, data in seed_images().items():
        assert decode_image(data, LIMITS).array.size, name


def test_the_same_seed_damages_in_the_same_way() -> None:
    first, again, other = (list(damage_images(60, seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_damaged_images_are_read_or_refused() -> None:
    wrong = {name: reason for name, data in damage_images(600, 1) if (reason := crash(data))}
    assert not wrong


def test_damaged_uploads_are_read_or_refused(fuzz_target: Server) -> None:
    assert not fuzz_uploads(fuzz_target, count=40, seed=2, on_case=lambda: None)


def test_hostile_bodies_are_read_or_refused(fuzz_target: Server) -> None:
    assert not fuzz_bodies(fuzz_target, count=40, seed=4, on_case=lambda: None)


def test_hostile_archives_are_listed_or_refused(tmp_path: Path) -> None:
    assert not fuzz_archives(80, 1, tmp_path, on_case=lambda: None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_generated_requests_are_answered_as_documented(fuzz_target: Server) -> None:
    findings = fuzz_api(fuzz_target, cases=100, seed=3, systematic=False, on_case=lambda: None)
    assert findings.count >= 100
    assert not findings.server_errors
    assert not findings.contradictions
    assert {status for _, _, status in findings.cases} >= {200, 422}


def test_findings_count_each_case() -> None:
    findings = Findings()
    findings.cases["GET /", "no body", 200] += 2
    findings.cases["GET /", "no body", 405] += 1
    assert findings.count == 3


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected"),
    [
        (200, {}, b"", ""),
        (404, {"content-type": "text/plain"}, b"", "404 as text/plain"),
        (429, {"content-type": "application/problem+json", "x-request-id": "1"}, b"", "429 without Retry-After"),
        (405, {"content-type": "application/problem+json", "x-request-id": "1"}, b"", "405 without Allow"),
        (
            422,
            {"content-type": "application/problem+json", "x-request-id": "1"},
            b'{"status": 422, "request_id": "2", "hint": "x"}',
            "422 with two request ids",
        ),
        (
            422,
            {"content-type": "application/problem+json", "x-request-id": "1"},
            b'{"status": 422, "request_id": "1", "hint": "x"}',
            "",
        ),
    ],
)
def test_an_answer_that_is_not_the_promised_problem_is_seen(
    status: int, headers: dict[str, str], content: bytes, expected: str
) -> None:
    assert wrong_problem(status, headers, content) == expected


def test_the_command_ends_with_its_counts() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "0", "--images", "30", "--uploads", "3", "--bodies", "2"]
    command += ["--archives", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    api, images, bodies, archives = last.split("; ")
    assert api == "fuzz: 0 API cases, 0 server errors, 0 contradictions"
    assert (images, bodies) == ("33 damaged images, 0 crashes", "2 hostile bodies, 0 faults")
    assert archives == "5 hostile archives, 0 faults"


# Cases that fuzzing has found.


def test_more_files_than_a_form_takes_are_refused_as_too_many(fuzz_target: Server, png: bytes) -> None:
    response = fuzz_target.client.post("/v1/features", files=[("image", png)] * 9)
    assert (response.status_code, response.json()["field"]) == (422, "images")
    assert "one request takes 4" in response.json()["detail"]


def test_the_longest_lists_of_a_route_fit_into_a_form_under_any_limits_of_another_route(
    fuzz_target: Server, png: bytes
) -> None:
    lists = {"timesteps": ["10"] * 64, "blocks": ["5"] * 64}
    response = fuzz_target.client.post("/v1/features", files={"image": png}, data=lists)
    assert response.status_code == 200
    assert response.json()["rows"] == 64


def test_more_fields_than_a_form_takes_are_refused_as_too_many(fuzz_target: Server, png: bytes) -> None:
    response = fuzz_target.client.post("/v1/features", files={"image": png}, data={"timesteps": ["10"] * 1000})
    assert (response.status_code, response.json()["field"]) == (422, "form")
    assert "JSON" in response.json()["hint"]
