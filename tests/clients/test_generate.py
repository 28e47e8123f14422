"""The committed generated modules of the Python client follow from the OpenAPI document."""

from __future__ import annotations

import json

from clients.generate import DOCUMENT, PACKAGE, generate_files


def test_the_committed_modules_are_those_of_the_document() -> None:
    for name, code in generate_files(json.loads(DOCUMENT.read_text(encoding="utf-8"))).items():
        assert (PACKAGE / name).read_text(encoding="utf-8") == code, f"{name}: run `make openapi`"
