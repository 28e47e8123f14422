"""Values are counted before a body is parsed, and a body is shortened for its error."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from service.inputs.json_values import check_values, shorten


def test_more_values_than_allowed_are_refused_with_the_setting_to_change() -> None:
    check_values(b"[" + b"0," * 100 + b"0]", 100)
    with pytest.raises(InvalidInput, match="more than 99 values") as refused:
        check_values("[" + "0," * 100 + "0]", 99, field="labels")
    assert refused.value.field == "labels"
    assert "max_json_values" in refused.value.hint


def test_half_a_surrogate_pair_is_counted_like_any_character() -> None:
    check_values("[\ud800,1]", 1)


def test_of_long_lists_and_objects_the_beginning_is_left() -> None:
    value = {"images": [{"x": list(range(90))}] * 70, **{f"k{n}": n for n in range(200)}}
    cut = shorten(value)
    assert len(cut) == 50
    assert len(cut["images"]) == 50
    assert cut["images"][0]["x"] == list(range(50))


def test_names_of_objects_have_a_quarter_of_the_values() -> None:
    check_values(b'{"a":1,"b":1}', 8)
    with pytest.raises(InvalidInput, match="more than 1 names"):
        check_values(b'{"a":1,"b":1}', 7)
