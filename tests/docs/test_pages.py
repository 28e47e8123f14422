"""The Python of every documentation page runs as it stands, a page at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Their calls want a server, which tests/protocols and test_client.py have.
CALLS = [ROOT / "docs" / name for name in ("protocols.md", "client.md")]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in CALLS], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path) -> None:
    document = Sybil(parsers=[PythonCodeBlockParser()], path=str(page.parent)).parse(page)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing
