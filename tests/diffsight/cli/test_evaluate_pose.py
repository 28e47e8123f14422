"""`diffsight evaluate pose`: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbones.errors import DiffsightError
from diffsight.cli import app


@pytest.mark.parametrize("content", [None, "no JSON", '{"images": [], "annotations": [], "categories": []}'])
def test_annotations_that_cannot_be_read_are_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DiffsightError):
        CliRunner().invoke(
            app, ["evaluate", "pose", str(file), "--images", str(tmp_path), "--device", "cpu"], catch_exceptions=False
        )
