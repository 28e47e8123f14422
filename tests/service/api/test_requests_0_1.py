"""Requests of version 0.1, recorded with their answers: every later version accepts them, and answers no less.

`recorded/requests_0_1.json` was written from version 0.1 and is not written again. It holds

    pictures    name -> base64 of a file: pictures, masks, zips, a video, an exported classifier, broken bodies
    groups      name -> requests, which are sent in order

A request has `name`, `method` and `path`; `query`, `headers`; at most one of `json`, `body` (a picture's name) and a
form: `form` (lists of name and text) and `files` (lists of part, file name and a picture's name). `{name}` in a text
stands for a value that an earlier request of the group saved, `{picture:name}` for a picture's base64. `until` has a
field and its values: the request is repeated until the answer has one of them.

Its answer must have the `status` and the media type `content_type`, `answer_headers` among its headers, every path of
`fields`, and at each path of `values` the number, within a thousandth, or the text. In `fields` `a.b[].c` is the key
`c` of the dictionaries in the list at `a.b`; in `values` `a.b.0.c` is that of the first. Of an answer that is no JSON
both are about what `read_answer` reads from it. `save` has names for values of the answer, `keep` a name for its bytes.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx2
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from tests.conftest import Server

RECORDED = json.loads((Path(__file__).parent / "recorded" / "requests_0_1.json").read_text(encoding="utf-8"))
PICTURES: Mapping[str, bytes] = {name: base64.b64decode(text) for name, text in RECORDED["pictures"].items()}

ALLOWED: Mapping[str, frozenset[str]] = {
    # Tasks are listed in another order, under the one name that their routes and jobs have.
    "GET /v1/models": frozenset({"tasks.0.task", "tasks.0.route"}),
    # Jobs of depth are exported as arrays too.
    "POST /v1/jobs": frozenset({"formats"}),
    # Label Studio stored an entry with an empty result as a prediction, and never requested it again.
    "POST /label-studio/predict": frozenset({"results.0.score", "results.0.result"}),
}
"""Paths of fields and values that answers lost, or changed, on purpose, by the method and path of a request."""

TOLERANCE = 1e-3
_LOOKS, _SECONDS_BETWEEN_LOOKS = 1200, 0.05


@dataclass
class Replay:
    """Sends requests to a server, and remembers the values that they save and keep for later requests."""

    client: httpx2.Client
    saved: dict[str, str] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)

    def answer(self, request: Mapping[str, Any]) -> httpx2.Response:
        """The answer that fulfils `until`."""
        for _ in range(_LOOKS):
            response = self.send(request)
            waited_for = request.get("until", {})
            if response.status_code != 200 or all(at(response.json(), path) in waited_for[path] for path in waited_for):
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            raise AssertionError(f"the answer does not become {waited_for}: {response.text[:1000]}")
        if "keep" in request:
            self.kept[request["keep"]] = response.content
        if response.is_success:
            read = read_answer(response) if "save" in request else None
            self.saved |= {name: str(at(read, path)) for name, path in request.get("save", {}).items()}
        return response

    def send(self, request: Mapping[str, Any]) -> httpx2.Response:
        """Send a request once; its answer."""
        options: dict[str, Any] = {"headers": request.get("headers", {})}
        if "query" in request:
            options["params"] = [(name, self.fill_in(text)) for name, text in request["query"]]
        if "json" in request:
            options["json"] = self.fill_in(request["json"])
        if "body" in request:
            options["content"] = self.file(request["body"])
        if "form" in request or "files" in request:
            # A part without a file name is a text, so that a form without files is multipart too.
            texts = [(name, (None, self.fill_in(text))) for name, text in request.get("form", ())]
            options["files"] = [
                *texts,
                *((part, (called, self.file(name))) for part, called, name in request.get("files", ())),
            ]
        return self.client.request(request["method"], self.fill_in(request["path"]), **options)

    def file(self, name: str) -> bytes:
        """The bytes of an earlier answer of the group that `keep` names, else of a picture."""
        return self.kept[name] if name in self.kept else PICTURES[name]

    def fill_in(self, value: Any) -> Any:
        """The value with saved values in place of names in braces; braces around unknown names stay."""
        if isinstance(value, str):
            return re.sub(r"\{([\w:]+)\}", self._replace, value)
        if isinstance(value, list):
            return [self.fill_in(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill_in(item) for name, item in value.items()}
        return value

    def _replace(self, match: re.Match[str]) -> str:
        kind, _, name = match[1].rpartition(":")
        if kind == "picture":
            return base64.b64encode(PICTURES[name]).decode()
        return self.saved.get(name, match[0])


def read_answer(response: httpx2.Response) -> Any:
    """An answer as dictionaries, lists, numbers and texts.

    JSON as it is; lines of JSON as a list; events as lists by their names; of a picture its size, mode and mean; of an
    array its shape, type and mean; of a zip its names; of XML the nested elements; of tensors their shapes; of
    metrics their kinds; of any other answer, and of an empty one, nothing.
    """
    kind, content = media_type(response), response.content
    if not content:
        return None
    if kind.endswith("json") and kind != "application/x-ndjson":
        return response.json()
    if kind == "application/x-ndjson":
        return [json.loads(line) for line in response.text.splitlines()]
    if kind == "text/event-stream":
        events: dict[str, list[Any]] = {}
        for name, data in re.findall(r"^event: (\w+)\ndata: (.*)$", response.text, re.MULTILINE):
            events.setdefault(name, []).append(json.loads(data))
        return events
    if kind == "image/png":
        with Image.open(io.BytesIO(content)) as image:
            mean = float(np.asarray(image, dtype=np.float64).mean())
            return {"width": image.width, "height": image.height, "mode": image.mode, "mean": mean}
    if kind == "application/x-npy":
        array = np.load(io.BytesIO(content), allow_pickle=False)
        return {"shape": list(array.shape), "dtype": str(array.dtype), "mean": float(array.mean(dtype=np.float64))}
    if kind == "application/zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {"names": archive.namelist()}
    if kind == "application/xml":
        root = ElementTree.fromstring(content)
        return {root.tag: _element(root)}
    if kind == "application/octet-stream":
        return {name: list(tensor.shape) for name, tensor in load(content).items()}
    if kind == "text/plain":
        return dict(re.findall(r"^# TYPE (\w+) (\w+)$", response.text, re.MULTILINE))
    return None


def _element(element: ElementTree.Element) -> dict[str, Any]:
    """Attributes of an element under `@name`, and lists of its children by their tags."""
    inside: dict[str, Any] = {f"@{name}": text for name, text in element.attrib.items()}
    for child in element:
        inside.setdefault(child.tag, []).append(_element(child))
    return inside


def media_type(response: httpx2.Response) -> str:
    """The media type without its parameters; empty if there is none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip()


def paths(value: Any, place: str = "") -> Iterator[str]:
    """The paths of all keys in a value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{place}.{name}" if place else str(name)
            yield here
            yield from paths(inner, here)
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{place}[]")


def at(value: Any, path: str) -> Any:
    """The value at a path. Raises KeyError or IndexError if there is none."""
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def is_alike(expected: Any, actual: Any) -> bool:
    """Whether a value equals the recorded one: numbers within the tolerance, new keys allowed."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            name in actual and is_alike(expected[name], actual[name]) for name in expected
        )
    if isinstance(expected, list):
        same = isinstance(actual, list) and len(actual) == len(expected)
        return same and all(map(is_alike, expected, actual))
    if isinstance(expected, bool) or not isinstance(expected, int | float):
        return bool(expected == actual)
    number = isinstance(actual, int | float) and not isinstance(actual, bool)
    return number and bool(actual == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE))


def find_differences(expected: Mapping[str, Any], answer: Any) -> dict[str, str]:
    """The recorded and the actual value, by the path of each difference."""
    differences = {}
    for path, value in expected.items():
        try:
            now = at(answer, path)
        except (KeyError, IndexError, TypeError, ValueError):
            differences[path] = f"{value!r} is gone"
        else:
            if not is_alike(value, now):
                differences[path] = f"{value!r} is {now!r}"
    return differences


@pytest.mark.parametrize("group", RECORDED["groups"])
def test_a_request_of_version_0_1_is_answered_as_it_was(server: Server, group: str) -> None:
    replay = Replay(server.client)
    for request in RECORDED["groups"][group]:
        name = f"{group}: {request['name']}"
        response = replay.answer(request)
        assert response.status_code == request["status"], f"{name}: {response.status_code}: {response.text[:2000]}"
        assert media_type(response) == request["content_type"], name
        for header, text in request.get("answer_headers", {}).items():
            assert response.headers.get(header) == replay.fill_in(text), f"{name}: the header {header}"
        answer, allowed = read_answer(response), ALLOWED.get(f"{request['method']} {request['path']}", frozenset())
        missing = set(request.get("fields", ())) - allowed - set(paths(answer))
        assert not missing, f"{name}: {sorted(missing)} are gone from the answer"
        values = {path: value for path, value in request.get("values", {}).items() if path not in allowed}
        wrong = find_differences(values, answer)
        assert not wrong, f"{name}: {wrong}"
