"""What a call sends, and what is read from a response."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import numpy as np
import pytest

from diffsight_client import ClientError, ServerFault
from diffsight_client.calls import Call, form_text, key_headers, problem_of, read_answer, request_parts
from diffsight_client.models import LiveAnswer

PNG = b"\x89PNG"
ADDRESS = "https://example.org/a.png"


def parts_of(options: dict[str, Any], **images: Any) -> dict[str, Any]:
    return request_parts(Call("POST", "/v1/depth", bytes, options=options, images=images))


def test_files_go_as_a_form_whose_lists_are_json() -> None:
    parts = parts_of({"labels": ["a", "b"], "top": 3, "scene": None, "flip": True}, images=[PNG, PNG])
    assert [(name, part[1]) for name, part in parts["files"]] == [
        ("labels", '["a","b"]'),
        ("top", "3"),
        ("flip", "true"),
        ("images", PNG),
        ("images", PNG),
    ]


def test_an_address_and_a_text_in_braces_go_as_json() -> None:
    body = json.loads(parts_of({"top": np.int64(3)}, image=ADDRESS)["content"])
    assert body == {"top": 3, "image": ADDRESS}
    body = json.loads(parts_of({"expression": "{a}"}, image=PNG)["content"])
    assert body == {"expression": "{a}", "image": "iVBORw=="}
    assert json.loads(parts_of({}, images=[ADDRESS])["content"]) == {"images": [ADDRESS]}


def test_arrays_are_lists_and_other_things_are_refused() -> None:
    assert form_text(np.array([[1.5, 2.0]])) == "[[1.5,2.0]]"
    with pytest.raises(Exception, match="object"):
        form_text(object())


def test_a_key_is_sent_where_there_is_one() -> None:
    assert key_headers("k") == {"Authorization": "Bearer k"}
    assert key_headers(None) == {}


def test_an_answer_of_another_shape_names_the_call() -> None:
    call = Call("GET", "/health/live", LiveAnswer.model_validate_json)
    with pytest.raises(ClientError, match="GET /health/live"):
        read_answer(call, b'{"status": "dead"}')


def test_a_problem_that_is_no_json_keeps_its_text() -> None:
    response = httpx2.Response(502, headers={"Retry-After": "soon"}, text="<h1>Bad gateway</h1>")
    error = problem_of(response)
    assert isinstance(error, ServerFault)
    assert "Bad gateway" in str(error)
    assert error.retry_after is None
    assert problem_of(httpx2.Response(503, headers={"Retry-After": "7"}, json=[])).retry_after == 7


@pytest.mark.parametrize(("model", "header"), [("sdpose-body", "sdpose-body"), (None, None), ("ä\n", None)])
def test_the_model_also_stands_in_a_header_that_can_hold_it(model: str | None, header: str | None) -> None:
    for images in ({}, {"image": PNG}):
        parts = parts_of({"model": model, "top": 3}, **images)
        assert parts["headers"].get("Diffsight-Model") == header
