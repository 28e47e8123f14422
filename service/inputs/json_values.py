"""Limits the number of values in JSON: a few megabytes can hold millions, and each costs time and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from backbones.errors import InvalidInput

_SHOWN = 50
# A name of an object costs ten times as much as a number in a list, and only trees of labels have many.
VALUES_PER_NAME = 4


def check_values(
    data: bytes | bytearray | str, most: int, *, field: str = "body", values_per_name: int = VALUES_PER_NAME
) -> None:
    """Raises InvalidInput for JSON that may hold more than `most` values, or one name for fewer than `values_per_name`.

    Nothing is parsed: commas and colons are counted, those inside texts too.
    """
    held = np.frombuffer(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data, np.uint8)
    for mark, bound, what in (
        (",", most, "values, counted by their commas"),
        (":", most // values_per_name, "names of values, counted by their colons"),
    ):
        # numpy releases the interpreter's lock here.
        if np.count_nonzero(held == ord(mark)) > bound:
            raise InvalidInput(
                field,
                f"more than {bound:,} {what}",
                hint="send several requests, or raise the server's limits.max_json_values",
            )


def shorten(value: Any) -> Any:
    """A JSON value in which lists and objects, at any depth, are cut to their beginning."""
    if isinstance(value, list):
        return [shorten(item) for item in value[:_SHOWN]]
    if isinstance(value, dict):
        return {name: shorten(item) for name, item in list(value.items())[:_SHOWN]}
    return value
