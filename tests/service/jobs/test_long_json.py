"""JSON in steps: the same values as json's, and the same refusals."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.jobs.long_json import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2, "\t"]))
@settings(deadline=None, max_examples=200)
def test_every_value_is_read_as_json_reads_it(value: object, indent: str | int | None) -> None:
    assert parse_json(json.dumps(value, indent=indent).encode()) == value


def test_a_mark_before_the_text_is_passed_over() -> None:
    assert parse_json(b'\xef\xbb\xbf {"images": [ ] , "a":[1 ,2]} ') == {"images": [], "a": [1, 2]}


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,}', '{"a":[1,]}', '{"a":[1}', "{1:2}", '{"a":1} x', '{"a" 1}', "\xff"],
)
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (json's and the codec's own are among them)
        parse_json(text.encode("latin-1"))


@pytest.mark.parametrize("text", ['{"a":' + "[" * 100_000, "[" * 100_000])
def test_deeply_nested_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="deep"):
        parse_json(text.encode())
