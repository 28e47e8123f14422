"""Rate limits of a client: a token bucket, and a number of simultaneous requests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import RateExceeded, TooManyAtOnce


class Caller:
    """The usage of one client: the tokens left in its bucket, and its running requests."""

    __slots__ = ("running", "seen", "tokens")

    def __init__(self, tokens: float, seen: float) -> None:
        self.tokens = tokens
        self.seen = seen
        self.running = 0


class Limiter:
    """A token bucket and a count of running requests for each caller, of which the latest `most_callers` are kept.

    A forgotten client starts again with a full bucket, so many addresses cannot fill the memory, and no client is
    locked out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_callers: int = 10_000) -> None:
        self.clock = clock
        self.most_callers = most_callers
        self.callers: OrderedDict[str, Caller] = OrderedDict()

    @contextmanager
    def admitted(self, name: str, rate_per_minute: int, concurrency: int) -> Iterator[None]:
        """Hold one of the client's places. Raises TooManyAtOnce or RateExceeded; 0 means no limit."""
        if not rate_per_minute and not concurrency:
            yield
            return
        caller = self._caller(name, rate_per_minute)
        if concurrency and caller.running >= concurrency:
            raise TooManyAtOnce(
                f"{caller.running} of your requests are running; at most {concurrency} may run at the same time",
                retry_after_seconds=1,
                hint="wait until one of them is answered",
            )
        if rate_per_minute:
            if caller.tokens < 1:
                raise RateExceeded(
                    f"{rate_per_minute} requests per minute are allowed",
                    retry_after_seconds=(1 - caller.tokens) * 60 / rate_per_minute,
                    hint="send it again after the number of seconds in Retry-After",
                )
            caller.tokens -= 1
        caller.running += 1
        try:
            yield
        finally:
            caller.running -= 1

    def _caller(self, name: str, rate_per_minute: int) -> Caller:
        """The caller, its bucket filled up to now."""
        now = self.clock()
        caller = self.callers.setdefault(name, Caller(rate_per_minute, now))
        self.callers.move_to_end(name)
        if len(self.callers) > self.most_callers:
            self.callers.popitem(last=False)
        caller.tokens = min(rate_per_minute, caller.tokens + (now - caller.seen) * rate_per_minute / 60)
        caller.seen = now
        return caller
