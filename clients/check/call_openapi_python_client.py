"""Run in the environment of the generator: calls a server by the client that openapi-python-client made."""

from __future__ import annotations

import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from table import CALLS, Made  # type: ignore[import-not-found, unused-ignore]

PACKAGE = "generated_by_openapi_python_client"
PNG = b"\x89PNG"


def call(client: Any, one: Made, picture: bytes) -> str:
    """What is wrong with the answer to one call; empty if nothing is."""
    types, models = import_module(f"{PACKAGE}.types"), import_module(f"{PACKAGE}.models")
    file = types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")
    fields: dict[str, Any] = {"file" if one.tag == "jobs" else "image": [file] if one.many else file, **one.options}
    if one.supports:
        support = [types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")]
        mask = [types.File(payload=BytesIO(picture), file_name="a.png", mime_type="image/png")]
        fields |= {"support_images": support, "support_masks": mask}
    module = import_module(f"{PACKAGE}.api.{one.tag}.{one.operation}")
    answer = module.sync_detailed(client=client, body=getattr(models, one.form)(**fields))
    if answer.status_code not in (200, 201):
        return f"{answer.status_code}: {answer.content[:300]!r}"
    if one.picture:
        return "" if answer.parsed.payload.read()[:4] == PNG else "no PNG"
    return "" if hasattr(answer.parsed, one.key) else f"no {one.key} in {answer.parsed!r:.300}"


def main(url: str, picture: bytes) -> None:
    """Make all calls, and print how each went."""
    client = import_module(PACKAGE).Client(base_url=url, timeout=120)
    for one in CALLS:
        try:
            wrong = call(client, one, picture)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        print(f"FAILED {one.operation}: {wrong}" if wrong else f"ok {one.operation}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_bytes())
