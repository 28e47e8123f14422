"""How many replicas the waiting rows need. Ray Serve's controller imports this, so it imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any

ROWS_A_REPLICA = 64
"""Rows that wait or run for which a further replica is started: two full batches."""


class RowsPolicy:
    """A policy of Ray Serve: the number of replicas that the rows can fill. Ray adds bounds and delays."""

    def __init__(self, rows_a_replica: int = ROWS_A_REPLICA) -> None:
        self.rows_a_replica = rows_a_replica

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and an empty state. context: Ray's, with the figure `rows` of each replica."""
        rows = sum((context.aggregated_metrics or {}).get("rows", {}).values())
        return max(1, math.ceil(rows / self.rows_a_replica)), {}
