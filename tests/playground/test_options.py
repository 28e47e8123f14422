"""Options from a schema, and typed values as a form sends them."""

from __future__ import annotations

from typing import Any

import pytest

from playground.options import Option, read_options, to_arguments, to_fields

SCHEMA: dict[str, Any] = {
    "properties": {
        "image": {"type": "string"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "flip": {"type": "boolean", "default": True, "description": "Mirror it."},
        "windows": {"type": "integer", "default": 2, "minimum": 1, "maximum": 64},
        "boxes": {
            "type": "array",
            "items": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
        },
        "protocol": {"enum": ["fast", "published"], "default": "fast", "type": "string"},
        "budget": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "tree": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "timesteps": {"type": "array", "items": {"type": "integer"}, "default": [100]},
    },
    "required": ["image", "labels"],
}
OPTIONS = read_options(SCHEMA, leave_out=["image"])
KINDS = ["lines", "flag", "whole", "rows", "choice", "text", "json", "lines"]


def test_each_schema_has_its_kind() -> None:
    assert [option.kind for option in OPTIONS] == KINDS
    assert (OPTIONS[2].minimum, OPTIONS[2].maximum, OPTIONS[3].width, OPTIONS[0].required) == (1, 64, 4, True)
    assert OPTIONS[1].label == "Flip"


def test_defaults_are_not_sent() -> None:
    assert to_fields(OPTIONS, ["", True, 2.0, "", "fast", "", "", "100"]) == []


def test_typed_values_are_sent_as_the_route_reads_them() -> None:
    typed = ["a cat\n\n a dog ", False, 3.0, "1, 2, 3.5, 4\n5 6 7 8", "published", "250 ms", '{"a": ["b"]}', "50\n200"]
    fields = to_fields(OPTIONS, typed)
    assert fields[:3] == [("labels", "a cat"), ("labels", "a dog"), ("flip", "false")]
    assert to_arguments(OPTIONS, fields) == {
        "labels": ["a cat", "a dog"],
        "flip": False,
        "windows": 3,
        "boxes": [[1, 2, 3.5, 4], [5, 6, 7, 8]],
        "protocol": "published",
        "budget": "250 ms",
        "tree": {"a": ["b"]},
        "timesteps": [50, 200],
    }


@pytest.mark.parametrize(("kind", "text"), [("rows", "left of the door"), ("json", "{")])
def test_an_invalid_value_is_sent_unchanged(kind: Any, text: str) -> None:
    option = Option("boxes", kind)
    assert to_arguments([option], to_fields([option], [text])) == {"boxes": text}
