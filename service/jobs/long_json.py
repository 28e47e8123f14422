"""Reads JSON of hundreds of megabytes without blocking other threads."""

from __future__ import annotations

import json
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from typing import Any

_DECODER = json.JSONDecoder()


def parse_json(data: bytes) -> Any:
    """The same value as `json.loads`.

    Lists of an object are read an item at a time: one long step would block other threads.
    data: in UTF-8, UTF-16 or UTF-32.
    Raises ValueError if it is not JSON, or is nested too deep.
    """
    # Some programs on Windows write UTF-16.
    text = data.decode(json.detect_encoding(data))
    try:
        at = _skip(text, 0)
        if text[at : at + 1] != "{":
            return json.loads(text)
        value, at = _read_object(text, at)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if _skip(text, at) != len(text):
        raise ValueError(f"something follows it, at letter {at}")
    return value


def _read_object(text: str, at: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if members:
            at = _skip(text, _expect(text, at, ","))
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError(f"no name before letter {at}")
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        members[name], at = _read_list(text, at) if text[at : at + 1] == "[" else _DECODER.raw_decode(text, at)
        at = _skip(text, at)
    return members, at + 1


def _read_list(text: str, at: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        if items:
            at = _skip(text, _expect(text, at, ","))
        item, at = _DECODER.raw_decode(text, at)
        items.append(item)
        at = _skip(text, at)
    return items, at + 1


def _expect(text: str, at: int, letter: str) -> int:
    if text[at : at + 1] != letter:
        raise ValueError(f"no {letter!r} at letter {at}")
    return at + 1


def _skip(text: str, at: int) -> int:
    end: int = WHITESPACE.match(text, at).end()
    return end
