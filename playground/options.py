"""The options of a route from the OpenAPI document: their kinds, and how typed values are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

OptionKind = Literal["flag", "choice", "whole", "number", "text", "lines", "rows", "json"]
"""A switch; one of several values; a whole number; a number; a text; texts, one a line; lists of numbers, one a line;
other JSON.
"""

_NUMBERS: dict[str, OptionKind] = {"integer": "whole", "number": "number"}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a route.

    default: the server's value if it is not sent, None if that is not a value. width: numbers in a row, for "rows" of
    one length. numeric: whether "lines" may be numbers. required: whether a request without it is refused.
    """

    name: str
    kind: OptionKind
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    width: int | None = None
    numeric: bool = False
    required: bool = False

    @property
    def label(self) -> str:
        """The name to show."""
        return self.name.replace("_", " ").capitalize()

    def to_python(self, texts: Sequence[str]) -> Any:
        """A form's texts for this option as a Python value."""
        if self.kind == "lines":
            return [_number(text) if self.numeric else text for text in texts]
        if self.kind in ("flag", "whole", "number", "rows", "json"):
            try:
                return json.loads(texts[0])
            except ValueError:
                return texts[0]
        return texts[0]


def read_options(schema: Mapping[str, Any], leave_out: Sequence[str] = ()) -> tuple[Option, ...]:
    """The options among the properties of a form's schema, in its order. leave_out: properties that are not options."""
    required = schema.get("required", ())
    return tuple(
        _read_option(name, entry, name in required)
        for name, entry in schema.get("properties", {}).items()
        if name not in leave_out
    )


def _read_option(name: str, schema: Mapping[str, Any], required: bool) -> Option:
    kind, items = _kind_of(schema), schema.get("items", {})
    return Option(
        name,
        kind,
        help=schema.get("description", ""),
        default=schema.get("default"),
        choices=tuple(map(str, schema.get("enum", ()))),
        minimum=schema.get("minimum", schema.get("exclusiveMinimum")),
        maximum=schema.get("maximum", schema.get("exclusiveMaximum")),
        width=items.get("maxItems") if kind == "rows" and items.get("maxItems") == items.get("minItems") else None,
        numeric=bool({"integer", "number"} & {part.get("type") for part in items.get("anyOf", (items,))}),
        required=required,
    )


def _kind_of(schema: Mapping[str, Any]) -> OptionKind:
    if "enum" in schema:
        return "choice"
    match schema.get("type"):
        case "boolean":
            return "flag"
        case "integer" | "number" as number:
            return _NUMBERS[number]
        case "string":
            return "text"
        case "array":
            return _kind_of_list(schema.get("items", {}))
    # Texts and numbers are sent as typed; a form's field that holds an object is read as JSON.
    kinds = {kind.get("type") for kind in schema.get("anyOf", ())}
    return "text" if kinds and kinds <= {"string", "integer", "number"} else "json"


def _kind_of_list(items: Mapping[str, Any]) -> OptionKind:
    if items.get("type") == "array":
        return "rows"
    kinds = {kind.get("type") for kind in items.get("anyOf", (items,))}
    return "lines" if kinds <= {"string", "integer", "number"} else "json"


def to_fields(options: Sequence[Option], values: Sequence[Any]) -> list[tuple[str, str]]:
    """The form fields with values that differ from the defaults. values: of the controls, in the options' order."""
    fields: list[tuple[str, str]] = []
    for option, value in zip(options, values, strict=True):
        sent = _to_texts(option, value)
        if sent != _to_texts(option, option.default):
            fields += [(option.name, text) for text in sent]
    return fields


def to_arguments(options: Sequence[Option], fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a form as Python values, by name."""
    texts: dict[str, list[str]] = {}
    for name, text in fields:
        texts.setdefault(name, []).append(text)
    kinds = {option.name: option for option in options}
    return {name: kinds[name].to_python(text) for name, text in texts.items()}


def _to_texts(option: Option, value: Any) -> list[str]:
    """The form's texts for a value: one text, several for a list, none for an empty value."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if option.kind == "whole" and isinstance(value, float) and value.is_integer():
        return [str(int(value))]
    if option.kind == "rows":
        return _rows(value)
    if isinstance(value, list):
        return [str(part) for part in value]
    if option.kind == "lines":
        return [line.strip() for line in str(value).splitlines() if line.strip()]
    return [json.dumps(value) if isinstance(value, dict) else str(value).strip()]


def _number(text: str) -> int | float | str:
    """A text as a number, if it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _rows(value: Any) -> list[str]:
    """Rows of numbers as one JSON text. Rows with other words are sent as typed: the server's answer says what is
    wrong.
    """
    if not isinstance(value, str):
        return [json.dumps(value)]
    try:
        rows = [[float(part) for part in line.replace(",", " ").split()] for line in value.splitlines() if line.strip()]
    except ValueError:
        return [value.strip()]
    return [json.dumps([[int(part) if part.is_integer() else part for part in row] for row in rows])]
