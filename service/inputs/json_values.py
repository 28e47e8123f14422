"""How many values of JSON are read: a few megabytes hold millions of them, each of which costs time and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from backbones.errors import InvalidInput

_SHOWN = 50


def check_values(data: bytes | str, most: int, *, field: str = "body") -> None:
    """Raises InvalidInput for JSON that may hold more than `most` values. Nothing is parsed: commas are counted.

    A comma inside a text counts too.
    """
    held = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    # numpy lets other threads go on meanwhile.
    if np.count_nonzero(np.frombuffer(held, np.uint8) == ord(",")) > most:
        raise InvalidInput(
            field,
            f"more than {most:,} values, counted by their commas",
            hint="send several requests, or raise the server's limits.max_json_values",
        )


def shortened(value: Any) -> Any:
    """A JSON value of whose lists and objects, at any depth, only the beginning is left."""
    if isinstance(value, list):
        return [shortened(one) for one in value[:_SHOWN]]
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in list(value.items())[:_SHOWN]}
    return value
