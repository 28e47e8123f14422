"""service/http/rate_limit.py: buckets, places, and the number of remembered callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.errors import RateExceeded, TooManyAtOnce
from service.http.rate_limit import Limiter

if TYPE_CHECKING:
    pass


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_with_time_and_no_further_than_its_rate() -> None:
    clock = Clock()
    limiter = Limiter(clock)

    def count_admitted() -> int:
        """The number of requests that pass until one is refused."""
        count = 0
        while True:
            try:
                with limiter.admitted("alice", 60, 0):
                    count += 1
            except RateExceeded as error:
                waits.append(error.retry_after_seconds)
                return count

    waits: list[float] = []
    assert count_admitted() == 60
    clock.now += 0.5
    assert count_admitted() == 0
    assert waits[-1] == pytest.approx(0.5)
    clock.now += 5
    assert count_admitted() == 5
    clock.now += 10_000
    assert count_admitted() == 60


def test_a_request_over_the_concurrency_costs_no_token() -> None:
    limiter = Limiter(Clock())
    with limiter.admitted("alice", 2, 1), pytest.raises(TooManyAtOnce), limiter.admitted("alice", 2, 1):
        pass
    with limiter.admitted("alice", 2, 1):
        pass
    with pytest.raises(RateExceeded), limiter.admitted("alice", 2, 1):
        pass


def test_many_callers_take_no_more_memory_than_the_latest() -> None:
    limiter = Limiter(Clock(), most_callers=10)
    for number in range(1000):
        with limiter.admitted(str(number), 5, 5):
            pass
    assert list(limiter.callers) == [str(number) for number in range(990, 1000)]
