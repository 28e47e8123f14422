"""Rounds of timesteps, and schedules that cannot work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.errors import InvalidInput
from heads.diffusion_classifier.schedule import (
    Schedule,
    check_schedule,
    default_schedule,
    new_timesteps,
    published_schedule,
)

schedules = st.lists(st.integers(1, 1000), min_size=1, max_size=4).map(
    lambda samples: Schedule(tuple(samples), tuple(range(len(samples), 0, -1)))
)


@settings(deadline=None, derandomize=True)
@given(schedules)
def test_no_timestep_is_visited_twice_and_all_are_in_range(schedule: Schedule) -> None:
    visited = [timestep for added in new_timesteps(schedule) for timestep in added]
    assert len(visited) == len(set(visited)) <= max(schedule.n_samples)
    assert all(0 <= timestep < 1000 for timestep in visited)


def test_the_rounds_of_the_published_food_schedule_are_not_nested() -> None:
    assert [len(added) for added in new_timesteps(published_schedule(101))] == [20, 50, 80, 350]


@pytest.mark.parametrize("labels", [1, 2, 4, 5, 10, 11, 37, 100, 101, 500, 1000])
def test_ready_schedules_work_for_any_number_of_labels(labels: int) -> None:
    for schedule in (default_schedule(labels), published_schedule(labels)):
        check_schedule(schedule, labels)


def test_the_default_costs_less_than_half_of_the_published_rows() -> None:
    for labels in (10, 37, 101, 1000):
        default, published = (
            rows(schedule, labels) for schedule in (default_schedule(labels), published_schedule(labels))
        )
        assert default <= published / 2


def rows(schedule: Schedule, labels: int) -> int:
    racing = (labels, *schedule.to_keep)
    return sum(len(added) * count for added, count in zip(new_timesteps(schedule), racing, strict=False))


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        (Schedule((), ()), "0 rounds"),
        (Schedule((10, 50), (1,)), "2 rounds and to_keep 1"),
        (Schedule((0,), (1,)), "n_samples"),
        (Schedule((1001,), (1,)), "n_samples"),
        (Schedule((10,), (2,)), "ends in 2"),
        (Schedule((10, 50), (1, 1)), "does not decrease"),
        (Schedule((10, 50), (6, 1)), "keeps 6 of 5"),
    ],
)
def test_a_schedule_that_cannot_end_is_refused_before_any_work(schedule: Schedule, part: str) -> None:
    with pytest.raises(InvalidInput, match=part):
        check_schedule(schedule, hypotheses=5)
