"""The Python of every documentation page runs as it is printed, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from service.settings.loader import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Their calls need a server: tests/protocols and test_client.py run them.
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


def settings_of(model: type[BaseModel], group: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings_of(inner, f"{name}.")
        else:
            yield group + name


def test_every_bound_of_the_settings_stands_among_the_limits() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    bound = re.compile(r"(^|\.)(max|min)_|_(bytes|seconds|per_minute|at_once)$|concurren|_ratio$")
    not_bounds = {"jobs.poll_seconds", "telemetry.sample_ratio"}
    names = {name for name in settings_of(Settings) if bound.search(name)} - not_bounds
    assert len(names) > 40
    missing = [name for name in sorted(names) if f"`{name}`" not in page and f"`.{name.split('.')[-1]}`" not in page]
    assert not missing
    settings = set(settings_of(Settings))
    groups = {name.split(".")[0] for name in settings if "." in name}
    named = re.findall(rf"`((?:{'|'.join(sorted(groups))})\.[a-z_]+)`", page)
    assert not [name for name in named if name not in settings]
