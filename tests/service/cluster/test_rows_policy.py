"""The number of replicas for a number of waiting rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.cluster.rows_policy import RowsPolicy


def make_context(*rows: float) -> Any:
    return SimpleNamespace(aggregated_metrics={"rows": {f"replica {n}": count for n, count in enumerate(rows)}})


@pytest.mark.parametrize(
    ("rows", "replicas"), [((), 1), ((0.0,), 1), ((64.0,), 1), ((65.0,), 2), ((400.0, 0.0), 7), ((10.0, 10.0), 1)]
)
def test_replicas_follow_the_rows_of_all_of_them(rows: tuple[float, ...], replicas: int) -> None:
    assert RowsPolicy(64)(make_context(*rows)) == (replicas, {})


def test_without_figures_there_is_one_replica() -> None:
    assert RowsPolicy()(SimpleNamespace(aggregated_metrics=None)) == (1, {})
