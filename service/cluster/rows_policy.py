"""How many replicas the waiting rows want. Ray Serve's controller imports this, and so it imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any

ROWS_A_REPLICA = 64
"""Rows that wait or run, from which another replica is worth its start: two full batches."""


class RowsPolicy:
    """A policy of Ray Serve: as many replicas as the rows of all of them fill. Ray adds bounds and delays."""

    def __init__(self, rows_a_replica: int = ROWS_A_REPLICA) -> None:
        self.rows_a_replica = rows_a_replica

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number, and nothing to remember. context: Ray's, with the figure `rows` of each replica."""
        rows = sum((context.aggregated_metrics or {}).get("rows", {}).values())
        return max(1, math.ceil(rows / self.rows_a_replica)), {}
