"""Wall seconds by stage, which add up: stages that ran at the same time share the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Interval = tuple[str, float, float]
"""A stage, its start and its end, by any clock in seconds."""


def share_time(intervals: Iterable[Interval]) -> dict[str, float]:
    """Seconds of each stage. A moment in which several run is divided evenly among them.

    The sum is the time in which any stage ran, and so at most the time from the first start to the last end.
    """
    changes = sorted(
        change for stage, start, end in intervals if end > start for change in ((start, 1, stage), (end, -1, stage))
    )
    seconds: dict[str, float] = {}
    running: Counter[str] = Counter()
    before = 0.0
    for now, change, stage in changes:
        if (total := running.total()) and now > before:
            for name, count in running.items():
                if count:
                    seconds[name] = seconds.get(name, 0.0) + (now - before) * count / total
        running[stage] += change
        before = now
    return seconds
