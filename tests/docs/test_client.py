"""The examples of docs/client.md run, one after another, in the folder whose pictures they name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from playground.state import SAMPLES
from tests.conftest import Server

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_examples_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("supervision")
    folder = shutil.copytree(SAMPLES, tmp_path / "samples")
    page = tmp_path / "client.md"
    page.write_text(PAGE.read_text().replace("http://127.0.0.1:8000", server.url))
    monkeypatch.chdir(folder)
    document = Sybil(parsers=[PythonCodeBlockParser()], path=str(tmp_path)).parse(page)
    examples = list(document.examples())
    assert len(examples) >= 10
    try:
        for example in examples:
            example.evaluate()
    finally:
        for name in ("client", "patient"):
            document.namespace[name].close()
