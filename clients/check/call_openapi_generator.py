"""Runs in the environment of the generator: calls a server with the Python client of openapi-generator."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from table import CALLS, Made  # type: ignore[import-not-found, unused-ignore]

PACKAGE = "generated_by_openapi_generator"
PNG = b"\x89PNG"


def call(client: Any, made: Made, picture: bytes) -> str:
    """What is wrong with the answer to one call; empty if nothing is."""
    api = getattr(import_module(PACKAGE), f"{made.tag.capitalize()}Api")(client)
    file = ("a.png", picture)
    fields: dict[str, Any] = {"file" if made.tag == "jobs" else "image": [file] if made.many else file, **made.options}
    if made.supports:
        fields |= {"support_images": [file], "support_masks": [file]}
    answer = getattr(api, made.operation)(**fields)
    if made.picture:
        return "" if bytes(answer[:4]) == PNG else f"no PNG but {answer[:80]!r}"
    if isinstance(answer, dict):
        return "" if made.key in answer else f"no {made.key}"
    return "" if hasattr(answer, made.key) else f"no {made.key} in {answer!r:.300}"


def main(url: str, picture: bytes) -> None:
    """Make all calls, and print the result of each."""
    package = import_module(PACKAGE)
    client = package.ApiClient(package.Configuration(host=url))
    for made in CALLS:
        try:
            wrong = call(client, made, picture)
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:500]}"
        print(f"FAILED {made.operation}: {wrong}" if wrong else f"ok {made.operation}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes())
