"""Whether a job's lease has ended, by a monotonic clock: another runner continues the jobs of a runner that died.

The database holds the end of a lease by the wall clock, which can be changed. So a process trusts its own
leases by its own clock, and those of others by whether they still change: a living owner renews about once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_STILL_SECONDS = 2.0
"""Seconds without a change after which a lease whose end has passed by the wall clock has ended."""


class Leases:
    """The leases that one process holds, and those of others that it has seen. clock: seconds, never set back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._own: dict[str, tuple[str, float]] = {}
        self._seen: dict[str, tuple[str, float, float]] = {}

    def hold(self, job_id: str, owner: str, seconds: float) -> None:
        """Record that an owner of this process holds a job for so many seconds from now."""
        self._own[job_id] = (owner, self._clock() + seconds)
        self._seen.pop(job_id, None)

    def let_go(self, job_id: str, owner: str) -> None:
        """Record that an owner of this process no longer holds a job."""
        if self._own.get(job_id, ("", 0.0))[0] == owner:
            del self._own[job_id]

    def has_ended(self, job_id: str, owner: str, leased_until: float, seconds: float) -> bool:
        """Whether no process holds the job any more.

        owner, leased_until: the values in the database, the latter by the wall clock. seconds: how long a lease that
        has not ended by that clock may stay unchanged.
        """
        if not owner:
            return True
        now = self._clock()
        holder, until = self._own.get(job_id, ("", 0.0))
        if holder == owner:
            return until <= now
        if self._seen.get(job_id, ())[:2] != (owner, leased_until):
            self._seen[job_id] = (owner, leased_until, now)
        still = now - self._seen[job_id][2]
        return still >= (min(seconds, _STILL_SECONDS) if leased_until < time.time() else seconds)
