"""Which size of batch costs the processor least an item, as far as batches of several sizes have shown."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""A batch counts as one of the smallest of these sizes that holds it."""
LEAST_BATCHES = 3
"""So many batches of a size say what it costs."""
NEARLY_BEST = 1.1
"""A larger batch that costs so much more an item than the best size is still taken: it saves turns."""
FORGOTTEN_AFTER = 200
"""A size that no batch had for so many batches is unknown again, so that one slow moment is no rule for ever."""


@dataclass(slots=True)
class _Cost:
    """The fewest seconds an item, of so many batches, and the number of the last one."""

    seconds_each: float
    batches: int = 0
    last: int = 0


@dataclass(slots=True)
class BestSizes:
    """Costs of batches of items that cost the same. Beyond the processor's caches a larger batch is no longer cheaper.

    batches: how many were counted.
    """

    batches: int = 0
    _costs: dict[int, _Cost] = field(default_factory=dict)

    def count(self, items: int, seconds: float) -> None:
        """Learn from a batch of so many items, which took so many seconds of the processor."""
        self.batches += 1
        size, each = bisect_left(SIZES, items), seconds / items
        cost = self._costs.setdefault(size, _Cost(each))
        # What disturbs a batch, first of all the choice of its kernels and other programs, only adds to its seconds.
        cost.seconds_each = min(each, cost.seconds_each)
        cost.batches += 1
        cost.last = self.batches
        self._costs = {key: cost for key, cost in self._costs.items() if self.batches - cost.last < FORGOTTEN_AFTER}

    def limit(self) -> int | None:
        """The largest size that costs nearly as little an item as the best one; None while no larger one is worse."""
        seconds_each = {size: cost.seconds_each for size, cost in self._costs.items() if cost.batches >= LEAST_BATCHES}
        if not seconds_each:
            return None
        best = min(seconds_each.values())
        fitting = max(size for size, each in seconds_each.items() if each <= NEARLY_BEST * best)
        return SIZES[fitting] if fitting < max(seconds_each) else None
