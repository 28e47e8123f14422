"""service/jobs/leases.py: the owner of a job, by a clock that the test moves; the wall clock does not matter."""

from __future__ import annotations

import time

import pytest

from service.jobs.leases import Leases


class Clock:
    """A clock that the test moves, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_own_lease_lasts_by_the_own_clock(clock: Clock) -> None:
    leases = Leases(clock)
    leases.hold("job", "me", 10.0)
    for leased_until in (0.0, time.time() + 3600):  # the wall clock went forward, or back
        assert not leases.has_ended("job", "me", leased_until, 10.0)
    clock.now = 10.0
    assert leases.has_ended("job", "me", time.time() + 3600, 10.0)
    leases.hold("job", "me", 10.0)
    leases.let_go("job", "another")
    assert not leases.has_ended("job", "me", 0.0, 10.0)


def test_a_lease_of_another_process_that_changes_is_alive_whatever_the_wall_clock_says(clock: Clock) -> None:
    leases = Leases(clock)
    for _ in range(30):
        clock.now += 1.0
        # Renewed each second, and over long ago by a wall clock that went forward.
        assert not leases.has_ended("job", "other", clock.now, 10.0)


def test_a_lease_of_another_process_that_is_over_and_stands_still_has_ended(clock: Clock) -> None:
    leases = Leases(clock)
    assert not leases.has_ended("job", "other", 1.0, 10.0)
    clock.now = 1.9
    assert not leases.has_ended("job", "other", 1.0, 10.0)
    clock.now = 2.0
    assert leases.has_ended("job", "other", 1.0, 10.0)


def test_a_lease_that_lasts_for_ever_because_the_wall_clock_went_back_ends_too(clock: Clock) -> None:
    leases = Leases(clock)
    far = time.time() + 3600
    assert not leases.has_ended("job", "other", far, 10.0)
    clock.now = 9.0
    assert not leases.has_ended("job", "other", far, 10.0)
    clock.now = 10.0
    assert leases.has_ended("job", "other", far, 10.0)


def test_a_job_that_no_process_holds_is_free(clock: Clock) -> None:
    assert Leases(clock).has_ended("job", "", 0.0, 10.0)
