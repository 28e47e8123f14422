"""The batch size with the lowest cost an item on the host's processor, by measured batches."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""A batch counts as one of the smallest of these sizes that holds it."""
LEAST_BATCHES = 3
"""Batches of a size that must be measured before its cost is used."""
NEARLY_BEST = 1.1
"""A larger batch may cost this factor more an item than the best size: it saves turns."""
FORGOTTEN_AFTER = 200
"""A size's cost is forgotten after this many batches of other sizes, so that a slow moment does not count for ever.
"""


@dataclass(slots=True)
class _Cost:
    """The fewest seconds an item, the number of batches, and the number of the last one."""

    seconds_each: float
    batches: int = 0
    last: int = 0


@dataclass(slots=True)
class BestSizes:
    """Costs of batches of equal items.

    A batch that exceeds the processor's caches is not cheaper. batches: their number.
    """

    batches: int = 0
    _costs: dict[int, _Cost] = field(default_factory=dict)

    def count(self, items: int, seconds: float) -> None:
        """Update the costs with a batch of so many items, which took so many seconds of the processor."""
        self.batches += 1
        size, each = bisect_left(SIZES, items), seconds / items
        cost = self._costs.setdefault(size, _Cost(each))
        # The minimum: disturbances, such as the choice of kernels and other programs, only add seconds.
        cost.seconds_each = min(each, cost.seconds_each)
        cost.batches += 1
        cost.last = self.batches
        self._costs = {key: cost for key, cost in self._costs.items() if self.batches - cost.last < FORGOTTEN_AFTER}

    def costs(self) -> dict[int, float]:
        """Seconds an item of each size that was measured often enough."""
        known = ((size, cost) for size, cost in self._costs.items() if size < len(SIZES))
        return {SIZES[size]: cost.seconds_each for size, cost in known if cost.batches >= LEAST_BATCHES}

    def restore(self, costs: Mapping[int, float]) -> None:
        """Begin with costs that `costs` gave, as if they had just been measured. Unknown sizes are ignored."""
        for size, seconds_each in costs.items():
            if size in SIZES:
                self._costs[SIZES.index(size)] = _Cost(seconds_each, LEAST_BATCHES, self.batches)

    def limit(self) -> int | None:
        """The largest size that costs nearly as little an item as the best one; None while no larger one is worse."""
        seconds_each = {size: cost.seconds_each for size, cost in self._costs.items() if cost.batches >= LEAST_BATCHES}
        if not seconds_each:
            return None
        best = min(seconds_each.values())
        fitting = max(size for size, each in seconds_each.items() if each <= NEARLY_BEST * best)
        return SIZES[fitting] if fitting < max(seconds_each) else None
