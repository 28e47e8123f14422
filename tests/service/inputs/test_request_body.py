"""Texts of forms and queries to a model's fields, and images in base64."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from backbones.errors import InvalidInput
from service.errors import MalformedBody
from service.inputs.request_body import ImageBytes, decode_base64, fields_of, validate
from service.settings.groups import LimitSettings


class Body(BaseModel):
    """A request of every kind of field."""

    model_config = ConfigDict(extra="forbid")

    image: ImageBytes = b""
    labels: list[str] = []
    tree: dict[str, Any] | list[Any] = {}
    rounds: dict[str, list[int]] | None = None
    count: int = 1


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        ([("labels", "cat")], {"labels": ["cat"]}),
        ([("labels", "cat"), ("labels", "dog")], {"labels": ["cat", "dog"]}),
        ([("labels", '["cat", "a, b"]')], {"labels": ["cat", "a, b"]}),
        ([("labels", "[cat"), ("count", "3")], {"labels": ["[cat"], "count": "3"}),
        ([("tree", '{"a": ["b"]}')], {"tree": {"a": ["b"]}}),
        ([("rounds", '{"n": [1]}')], {"rounds": {"n": [1]}}),
        ([("unknown", "x")], {"unknown": "x"}),
    ],
)
def test_texts_become_the_fields_they_stand_for(texts: list[tuple[str, str]], fields: dict[str, Any]) -> None:
    assert fields_of(Body, texts) == fields


@pytest.mark.parametrize("texts", [[("count", "1"), ("count", "2")], [("labels", "[cat]")], [("rounds", "{n: 1}")]])
def test_texts_that_mean_nothing_are_refused_by_name(texts: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidInput) as caught:
        fields_of(Body, texts)
    assert caught.value.field == texts[0][0]


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}", "\n {} \n"])
def test_base64_is_read_however_it_is_wrapped(form: str) -> None:
    data = bytes(range(256))
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode().rstrip("=")):
        assert decode_base64(form.replace("{}", text)) == data


@pytest.mark.parametrize("text", ["not base64!", "data:image/png,abc", "abcde"])
def test_invalid_base64_is_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        decode_base64(text)


def test_a_body_that_is_no_json_is_distinguished_from_one_with_wrong_fields() -> None:
    with pytest.raises(MalformedBody):
        validate(Body, b"{")
    with pytest.raises(RequestValidationError) as caught:
        validate(Body, b'{"label": ["cat"]}')
    assert "did you mean labels?" in caught.value.errors()[0]["msg"]


def test_an_address_is_an_image_only_where_addresses_are_on() -> None:
    body = b'{"image": "https://example.org/a.png"}'
    assert validate(Body, body, fetch_urls=True).image == validate(Body, body, fetch_urls=True).image
    with pytest.raises(RequestValidationError, match=r"urls\.enabled"):
        validate(Body, body)


def test_the_first_errors_of_a_body_with_many_are_reported() -> None:
    wrong = b'{"count": "x", "labels": [' + b",".join([b"0"] * 5000) + b"]}"
    with pytest.raises(RequestValidationError) as caught:
        validate(Body, wrong, LimitSettings())
    errors = caught.value.errors()
    assert len(errors) <= 100
    assert errors[0]["loc"] == ("labels", 0)
    with pytest.raises(RequestValidationError) as unknown:
        validate(Body, json.dumps({f"label{n}": n for n in range(3000)}).encode(), LimitSettings())
    assert len(unknown.value.errors()) == 50


def test_errors_beyond_the_beginnings_are_named_by_their_number() -> None:
    late = {"labels": ["a"] * 60 + [0] * 2000}
    with pytest.raises(InvalidInput, match="2,000 of its values"):
        validate(Body, json.dumps(late).encode(), LimitSettings())


def test_more_values_than_a_request_may_have_are_not_read() -> None:
    limits = LimitSettings(max_json_values=1000)
    text = "[" + ",".join(['"a"'] * 1002) + "]"
    with pytest.raises(InvalidInput, match="more than 1,000 values") as in_form:
        fields_of(Body, [("labels", text)], limits)
    with pytest.raises(InvalidInput, match="more than 1,000 values") as in_body:
        validate(Body, f'{{"labels": {text}}}'.encode(), limits)
    assert (in_form.value.field, in_body.value.field) == ("labels", "body")
