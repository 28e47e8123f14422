"""Generated requests against the document that a real server serves, and what it answers wrongly."""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import schemathesis
from hypothesis import strategies as st
from schemathesis.engine import events, from_schema

from service.http.problems import FOREIGN_MEDIA_TYPE, MEDIA_TYPE, foreign_member
from tests.conftest import Server, running_server
from tests.fuzz.images import damage_images, kind, seed_images

# So little that a request which can be answered is answered in a fraction of a second.
LIMITS = {
    "max_rows_per_request": 100,
    "max_labels": 8,
    "max_prompts": 16,
    "max_images": 4,
    "max_training_images": 4,
    "max_image_pixels": 1_000_000,
    "max_upload_bytes": 1_000_000,
    "deadline_seconds": 10.0,
}
KINDS = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
# A request may ask for a deadline that nothing could meet: 504 is the right answer then. Generated requests unload the
# model too: until it is back the answer is 503, whose type `wrong_problem` checks.
STATUSES = {
    "not_a_server_error": ["2xx", "3xx", "4xx", 503, 504],
    # No generated id exists.
    "positive_data_acceptance": ["2xx", 401, 404, 409, 413, 422, 429, 503, 504],
    # A text over its bound may make a body over the server's bound.
    "negative_data_rejection": [400, 401, 404, 406, 413, 415, 422, 429, "5xx"],
}
# uvicorn itself refuses invalid HTTP and URLs over 64 KiB: they do not reach the service.
NO_HTTP = b"Invalid HTTP request received."


@dataclass
class Findings:
    """The requests, and what was wrong with the answers.

    cases: how many requests, by operation, media type and status. server_errors, contradictions: texts by what they are
    about, so that a repeated fault is reported once. not_http: requests that never reached the service.
    """

    cases: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    server_errors: dict[str, str] = field(default_factory=dict)
    contradictions: dict[str, str] = field(default_factory=dict)
    not_http: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.cases.values())


@contextmanager
def fuzzed_server() -> Iterator[Server]:
    """A real server with the embedded backbone and small limits."""
    with running_server(limits=LIMITS) as server:
        assert server.state.models.failure is None
        yield server


def fuzz_api(server: Server, *, cases: int, seed: int, systematic: bool, on_case: Callable[[], object]) -> Findings:
    """What `cases` requests or more find, generated from the server's own document; the same for the same seed.

    systematic: begin with the document's examples and with the bounds of every value. on_case: called after each.
    """
    findings = Findings()
    whole = list(seed_images().values())
    pictures = st.sampled_from(whole) | st.binary(max_size=200)
    schemathesis.openapi.media_type(KINDS[0], pictures, aliases=KINDS[1:])
    rounds = 0
    while findings.count < cases:
        before = findings.count
        # Operations without parameters have one case each: most of a round is the two or three others.
        begin = systematic and not rounds
        share = 10 if begin else max(10, (cases - before) // 2)
        config = _config(server.url, seed + rounds, share, systematic=begin)
        schema = schemathesis.openapi.from_dict(_with_events(server.client.get("/openapi.json").json()), config=config)
        _hook(schema, findings, whole, on_case)
        for event in from_schema(schema).execute():
            _note(event, findings)
        rounds += 1
        if findings.count == before:
            findings.contradictions["no progress"] = "the document leads to no further requests"
            break
    return findings


def fuzz_uploads(server: Server, *, count: int, seed: int, on_case: Callable[[], object]) -> dict[str, str]:
    """What is wrong with the answers to damaged images sent as bodies: name -> text."""
    wrong: dict[str, str] = {}
    for name, data in damage_images(count, seed):
        response = server.client.post(
            "/v1/features", params={"timesteps": 10}, content=data, headers={"Content-Type": kind(name.split()[1])}
        )
        media_type = response.headers["content-type"]
        expected = {200: "application/json", 422: "application/problem+json"}.get(response.status_code)
        if media_type != expected:
            wrong[name] = f"{response.status_code} {media_type}: {response.text[:500]}"
        on_case()
    return wrong


def _with_events(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a schema of each event of a stream, for which OpenAPI 3.1 has no word and 3.2 has `itemSchema`.

    Without it the generator takes the schema of the whole stream for that of an event.
    """
    names = {"type": "string", "enum": ["progress", "answer", "problem"]}
    event = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": names, "data": {"type": "string"}},
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation.get("responses", {}).values() if isinstance(operation, dict) else ():
                if "text/event-stream" in (content := response.get("content", {})):
                    content["text/event-stream"] = {"itemSchema": event}
    return document


def _config(url: str, seed: int, examples: int, *, systematic: bool) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            "base-url": url,
            "seed": seed,
            # One: the order of requests, and with it every answer, is then the same each time.
            "workers": 1,
            "continue-on-failure": True,
            "request-timeout": 60,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "checks": {name: {"expected-statuses": statuses} for name, statuses in STATUSES.items()},
            "phases": {
                "examples": {"enabled": systematic},
                "coverage": {"enabled": systematic},
                "stateful": {"enabled": False},
            },
        }
    )


def _hook(schema: Any, findings: Findings, whole: list[bytes], on_case: Callable[[], object]) -> None:
    """Put real pictures in place of generated texts, which would be refused at once, and count the answers."""

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        chance = zlib.crc32(repr((case.body, case.query)).encode("utf-8", "backslashreplace"))
        if case.media_type == "application/json" and chance % 16:
            # With JSON all options are in the body; a query is refused before any other check.
            case.query.clear()
        if case.path.startswith("/v2/models/") and chance % 4:
            # No generated name is a task's.
            named = {"model": "features", "version": "pocket"}
            case.path_parameters = {name: named[name] for name in case.path_parameters}
        if isinstance(case.body, dict) and chance % 8:
            case.body = _with_pictures(case.body, whole, chance, as_text=case.media_type == "application/json")
            if chance % 2:
                case.body = _within_bounds(case.body)
        elif isinstance(case.body, bytes) and chance % 2:
            labels = {"labels": ["a zero", "a one"]} if "zero-shot" in case.path else {}
            case.query = _within_bounds({**labels, **(case.query or {})})

    def after_call(context: Any, case: Any, response: Any) -> None:
        if response.status_code == 400 and response.content == NO_HTTP:
            sent = response.request
            findings.not_http.append(f"{sent.method} {sent.url} {dict(sent.headers)}")
            return
        findings.cases[case.operation.label, case.media_type or "no body", response.status_code] += 1
        if wrong := wrong_problem(response.status_code, response.headers, response.content, case.path):
            findings.contradictions.setdefault(f"{case.operation.label}: {wrong}", case.as_curl_command())
        on_case()

    schemathesis.hook(before_call)
    schema.hook(after_call)


def _with_pictures(body: dict[str, Any], whole: list[bytes], chance: int, *, as_text: bool) -> dict[str, Any]:
    """The body with whole files in place of its texts for images; other wrong values stay."""

    def picture(index: int) -> str | bytes:
        data = whole[(chance + index) % len(whole)]
        return base64.b64encode(data).decode() if as_text else data

    changed = dict(body)
    for name in ("image", "images"):
        value = changed.get(name)
        if isinstance(value, str | bytes):
            changed[name] = picture(0)
        elif isinstance(value, list) and all(isinstance(item, str | bytes) for item in value):
            changed[name] = [picture(index) for index in range(len(value))]
        elif isinstance(value, dict) and isinstance(value.get("value"), str):  # as Roboflow's client sends it
            changed[name] = {**value, "type": "base64", "value": picture(0)}
        elif isinstance(value, list) and all(isinstance(item, dict) and "value" in item for item in value):
            changed[name] = [{**item, "type": "base64", "value": picture(at)} for at, item in enumerate(value[:2])]
    if isinstance(inputs := changed.get("inputs"), str):  # as Hugging Face's client sends it
        changed["inputs"] = picture(0)
    elif (
        isinstance(inputs, list) and inputs and all(isinstance(input_, dict) for input_ in inputs)
    ):  # as Triton's sends it
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [picture(0)]}
        changed["inputs"] = [tensor, *inputs[1:]]
    return changed


def _within_bounds(parameters: dict[str, Any]) -> dict[str, Any]:
    """The options within the server's limits, so that the request reaches the device."""
    changed = {
        name: value for name, value in parameters.items() if name not in ("deadline_seconds", "templates", "trials")
    }
    if isinstance(labels := changed.get("labels"), list):
        changed["labels"] = list({repr(label): label for label in labels[:2]}.values())
        changed["schedule"] = "default"
    for name, most in (("timesteps", 3), ("blocks", 1), ("images", 2)):
        if isinstance(value := changed.get(name), list):
            changed[name] = value[:most]
    if isinstance(changed.get("noise_samples"), int):
        changed["noise_samples"] = min(2, changed["noise_samples"])
    return changed


def wrong_problem(status: int, headers: Any, content: bytes, path: str = "") -> str:
    """How an answer differs from the problem that docs/errors.md promises for its status; empty if it does not.

    path: of the request; those of foreign protocols have the reason under a member of their own.
    """
    if status < 400:
        return ""
    lower = {name.lower(): value if isinstance(value, str) else value[0] for name, value in headers.items()}
    member = foreign_member(path)
    if lower.get("content-type") != (MEDIA_TYPE if member is None else FOREIGN_MEDIA_TYPE):
        return f"{status} as {lower.get('content-type')}"
    if "x-request-id" not in lower:
        return f"{status} without X-Request-ID"
    if status in (429, 503) and not lower.get("retry-after", "").isdigit():
        return f"{status} without Retry-After"
    if status == 405 and not lower.get("allow"):
        return "405 without Allow"
    if not content:  # HEAD
        return ""
    problem = httpx2.Response(status, content=content).json()
    if status == 503 and problem["type"] != "/problems/not-ready":
        return f"503 as {problem['type']}"
    if problem["status"] != status:
        return f"{status} whose problem says {problem['status']}"
    if problem["request_id"] != lower["x-request-id"]:
        return f"{status} with two request ids"
    if not problem["hint"]:
        return f"{status} without a hint"
    if member is not None and not problem[member]:
        return f"{status} without a reason under {member}"
    return ""


def _may_be_read(case: Any) -> bool:
    """Whether a body that was generated as wrong may be right.

    Every value of a form is a text, and any bytes may be an image. In JSON, null is read as an option that is left out.
    """
    return case.media_type != "application/json" or (isinstance(case.body, dict) and None in case.body.values())


def _note(event: Any, findings: Findings) -> None:
    """Keep the faults that a part of the run reports."""
    if isinstance(event, events.FatalError):
        raise event.exception
    if isinstance(event, events.NonFatalError):
        findings.contradictions.setdefault(f"{event.label}: {event.info.title}", str(event.value))
    if not isinstance(event, events.ScenarioFinished):
        return
    for identity, checks in event.recorder.checks.items():
        interaction = event.recorder.interactions.get(identity)
        response = interaction.response if interaction is not None else None
        if response is not None and response.content == NO_HTTP:
            continue
        case = event.recorder.cases[identity].value
        for check in checks:
            if check.failure_info is None:
                continue
            if check.name == "negative_data_rejection" and _may_be_read(case):
                continue
            if check.name == "positive_data_acceptance" and case.media_type == "application/octet-stream":
                continue  # its schema is any bytes, and a header says which of them are JSON
            failure = check.failure_info.failure
            about = f"{event.recorder.label}: {check.name}: {failure.title}"
            start = b"" if response is None else response.content[:1000]
            answer = "" if response is None else f"{response.status_code} {start.decode(errors='replace')}"
            text = f"{failure.message}\n{answer}\n{check.failure_info.code_sample}"
            kept = findings.server_errors if check.name == "not_a_server_error" else findings.contradictions
            kept.setdefault(about, text)
