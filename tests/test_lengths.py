"""Files and functions stay short enough to read at a glance."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("backbones", "heads", "service", "diffsight", "training", "playground", "clients")
# `python -m clients.generate` writes these: a method for each route, with the route's whole description.
GENERATED = {f"clients/python/diffsight_client/{name}.py" for name in ("async_operations", "models", "operations")}
MODULES = sorted(
    file
    for folder in FOLDERS
    for file in (ROOT / folder).rglob("*.py")
    if file.relative_to(ROOT).as_posix() not in GENERATED and "node_modules" not in file.parts
)


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_are_short(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {name: length for name, length in lengths.items() if length > 60} == {}
