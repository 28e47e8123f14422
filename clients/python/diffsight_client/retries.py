"""How often and how long the client repeats a request to a busy server."""

from __future__ import annotations

from dataclasses import dataclass

from diffsight_client.errors import ServerProblem

REPEATED = frozenset({429, 503})
"""Statuses after which the same request is sent again: the server did no work for it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Limits of repeated requests: after 429 or 503, a request is sent again after the seconds of `Retry-After`.

    times: repetitions of one request. seconds: total waiting time for one request; if a wait would exceed it, the
    problem is raised immediately. first_wait: seconds to wait if the server names none; each further wait is twice as
    long.
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
        """Seconds to wait before the request is sent again. Raises the problem if it is not sent again."""
        wait = problem.retry_after
        if wait is None:
            wait = self.retries.first_wait * 2**self.count
        too_often = self.count >= self.retries.times
        if problem.status not in REPEATED or too_often or self.waited + wait > self.retries.seconds:
            raise problem
        self.count += 1
        self.waited += wait
        return wait
