"""Run in the environment of the generator: calls a server by the Python client that openapi-generator made."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from table import CALLS, Made  # type: ignore[import-not-found, unused-ignore]

PACKAGE = "generated_by_openapi_generator"
PNG = b"\x89PNG"


def call(client: Any, one: Made, picture: bytes) -> str:
    """What is wrong with the answer to one call; empty if nothing is."""
    api = getattr(import_module(PACKAGE), f"{one.tag.capitalize()}Api")(client)
    file = ("a.png", picture)
    fields: dict[str, Any] = {"file" if one.tag == "jobs" else "image": [file] if one.many else file, **one.options}
    if one.supports:
        fields |= {"support_images": [file], "support_masks": [file]}
    answer = getattr(api, one.operation)(**fields)
    if one.picture:
        return "" if bytes(answer[:4]) == PNG else f"no PNG but {answer[:80]!r}"
    if isinstance(answer, dict):
        return "" if one.key in answer else f"no {one.key}"
    return "" if hasattr(answer, one.key) else f"no {one.key} in {answer!r:.300}"


def main(url: str, picture: bytes) -> None:
    """Make all calls, and print how each went."""
    package = import_module(PACKAGE)
    client = package.ApiClient(package.Configuration(host=url))
    for one in CALLS:
        try:
            wrong = call(client, one, picture)
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:500]}"
        print(f"FAILED {one.operation}: {wrong}" if wrong else f"ok {one.operation}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes())
