"""`python -m diffsight.openapi_document` writes the OpenAPI document to openapi/openapi.json."""

from __future__ import annotations

import json
from pathlib import Path

from service.app import create_app
from service.settings.loader import load_settings

COMMITTED = Path(__file__).parents[1] / "openapi" / "openapi.json"


def document() -> str:
    """The document of an app with default settings, as the text that is committed. No model is loaded."""
    return json.dumps(create_app(load_settings()).openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COMMITTED.parent.mkdir(exist_ok=True)
    COMMITTED.write_text(document(), encoding="utf-8")
    print(f"wrote {COMMITTED}")
