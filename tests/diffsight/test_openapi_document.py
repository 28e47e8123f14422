"""The committed OpenAPI document is that of the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffsight.openapi_document import COMMITTED, document

if TYPE_CHECKING:
    pass


def test_the_committed_document_is_that_of_the_app() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == document(), "run `make openapi`"
