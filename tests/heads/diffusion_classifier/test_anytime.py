"""Budgets as people write them."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from heads.diffusion_classifier.anytime import Budget, parse_budget


def test_budgets_are_read_as_people_write_them() -> None:
    assert parse_budget(500) == parse_budget("500") == parse_budget(" 500 rows") == Budget(rows=500)
    assert parse_budget("250ms") == parse_budget("0.25 s") == parse_budget("250 milliseconds") == Budget(seconds=0.25)
    for text in ("", "0", "-5", "fast", "5 h", "nan s", "1.5 rows", "inf ms"):
        with pytest.raises(InvalidInput, match="no budget"):
            parse_budget(text)
