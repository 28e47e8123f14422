"""Runs in the environment of the generator: calls a server with the client of openapi-python-client."""

from __future__ import annotations

import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from table import CALLS, Made  # type: ignore[import-not-found, unused-ignore]

PACKAGE = "generated_by_openapi_python_client"
PNG = b"\x89PNG"


def call(client: Any, made: Made, picture: bytes) -> str:
    """What is wrong with the answer to one call; empty if nothing is."""
    types, models = import_module(f"{PACKAGE}.types"), import_module(f"{PACKAGE}.models")
    file = types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")
    fields: dict[str, Any] = {"file" if made.tag == "jobs" else "image": [file] if made.many else file, **made.options}
    if made.supports:
        support = [types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")]
        mask = [types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")]
        fields |= {"support_images": support, "support_masks": mask}
    module = import_module(f"{PACKAGE}.api.{made.tag}.{made.operation}")
    answer = module.sync_detailed(client=client, body=getattr(models, made.form)(**fields))
    if answer.status_code not in (200, 201):
        return f"{answer.status_code}: {answer.content[:300]!r}"
    if made.picture:
        return "" if answer.parsed.payload.read()[:4] == PNG else "no PNG"
    return "" if hasattr(answer.parsed, made.key) else f"no {made.key} in {answer.parsed!r:.300}"


def main(url: str, picture: bytes) -> None:
    """Make all calls, and print the result of each."""
    client = import_module(PACKAGE).Client(base_url=url, timeout=120)
    for made in CALLS:
        try:
            wrong = call(client, made, picture)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        print(f"FAILED {made.operation}: {wrong}" if wrong else f"ok {made.operation}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes())
