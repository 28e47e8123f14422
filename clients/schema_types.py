"""Schemas of the OpenAPI document as Python types, and as pydantic models."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_WIDTH = 120


def type_of(schema: Mapping[str, Any]) -> str:
    """The annotation of a value of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(type_of, schema["anyOf"])))
    kind = schema.get("type")
    if kind == "array":
        return f"list[{type_of(schema.get('items', {}))}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {type_of(values) if isinstance(values, Mapping) else 'Any'}]"
    return _PLAIN.get(str(kind), "Any")


def option_type(schema: Mapping[str, Any]) -> str:
    """The annotation of an option: any sequence is allowed for a list, any mapping for an object."""
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(option_type, schema["anyOf"])))
    if schema.get("type") == "array":
        return f"Sequence[{option_type(schema.get('items', {}))}]"
    if schema.get("type") == "object":
        return "Mapping[str, Any]"
    return type_of(schema)


def name_of(name: str) -> str:
    """The name as an identifier."""
    plain = re.sub(r"\W", "_", name)
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def references(schema: Any) -> Iterator[str]:
    """The names of schemas that a schema refers to."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for inner in schema.values():
            yield from references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from references(inner)


def reachable(names: set[str], schemas: Mapping[str, Any]) -> list[str]:
    """These schemas and all schemas that they refer to, in the order of their dependencies."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name not in ordered:
            for inner in sorted(set(references(schemas[name])) - {name}):
                visit(inner)
            ordered.append(name)

    for name in sorted(names):
        visit(name)
    return ordered


def docstring(text: str, indent: str) -> list[str]:
    """A text as the lines of a docstring, each line wrapped."""
    width = _WIDTH - len(indent) - 6
    wrapped = (textwrap.wrap(part, width, break_long_words=False) for part in text.strip().split("\n"))
    lines = [line for part in wrapped for line in part or [""]]
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}".rstrip() for line in lines[1:]), f'{indent}"""']


def model_lines(name: str, schema: Mapping[str, Any], base: str) -> list[str]:
    """The class of an object's schema; each field has its description below it."""
    lines = ["", "", f"class {name}({base}):"]
    if about := schema.get("description"):
        lines += [*docstring(about, "    "), ""]
    required = set(schema.get("required", ()))
    for field, entry in schema["properties"].items():
        identifier, annotation = name_of(field), type_of(entry)
        default = ""
        if field not in required:
            value = entry.get("default")
            annotation += " | None" if value is None and "None" not in annotation else ""
            default = _default(value, identifier, field)
        elif identifier != field:
            default = f" = Field(alias={field!r})"
        lines.append(f"    {identifier}: {annotation}{default}")
        if about := entry.get("description"):
            lines += docstring(about, "    ")
    return lines


def _default(value: Any, identifier: str, field: str) -> str:
    alias = f", alias={field!r}" if identifier != field else ""
    if isinstance(value, list | dict):
        return f" = Field(default_factory=lambda: {value!r}{alias})"
    return f" = Field(default={value!r}{alias})" if alias else f" = {value!r}"
