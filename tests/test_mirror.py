"""Tests stand where their subject stands: `tests/PACKAGE/test_NAME.py` for `PACKAGE/NAME.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MIRRORED = ("backbones",)


@pytest.mark.parametrize("package", MIRRORED)
def test_every_module_has_its_tests_by_exact_path(package: str) -> None:
    modules = {file.relative_to(ROOT) for file in (ROOT / package).rglob("*.py")}
    tests = {file.relative_to(ROOT / "tests") for file in (ROOT / "tests" / package).rglob("test_*.py")}
    assert {module.with_name(f"test_{module.name}") for module in modules} == tests
