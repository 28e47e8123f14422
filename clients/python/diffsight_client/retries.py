"""How often, and how long, a busy server is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from diffsight_client.errors import ServerProblem

REPEATED = frozenset({429, 503})
"""Statuses after which the same request is sent again: the server took nothing of it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """What is tried again: requests that were answered 429 or 503, after the seconds of `Retry-After`.

    times: of one request, beyond the first. seconds: of waiting, all of one request's together; a wait that would
    pass it is not begun, and the problem is raised at once. first_wait: seconds where the server names none, doubled
    with each further one.
    """

    times: int = 5
    seconds: float = 60.0
    first_wait: float = 0.5


@dataclass(slots=True)
class Waits:
    """The waits of one request."""

    retries: Retries
    count: int = 0
    waited: float = 0.0

    def after(self, problem: ServerProblem) -> float:
        """Seconds to wait before the request is sent again. Raises the problem where it is not sent again."""
        wait = problem.retry_after
        if wait is None:
            wait = self.retries.first_wait * 2**self.count
        too_often = self.count >= self.retries.times
        if problem.status not in REPEATED or too_often or self.waited + wait > self.retries.seconds:
            raise problem
        self.count += 1
        self.waited += wait
        return wait
