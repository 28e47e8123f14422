"""The best batch size, for any costs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.best_sizes import FORGOTTEN_AFTER, LEAST_BATCHES, NEARLY_BEST, SIZES, BestSizes


def learn(*costs: tuple[int, float], times: int = LEAST_BATCHES) -> BestSizes:
    """costs: items of a batch and seconds of one item."""
    sizes = BestSizes()
    for _ in range(times):
        for items, each in costs:
            sizes.count(items, items * each)
    return sizes


def test_nothing_is_limited_before_batches_have_shown_it() -> None:
    assert BestSizes().limit() is None
    assert learn((8, 1.0), (32, 2.0), times=LEAST_BATCHES - 1).limit() is None
    assert learn((32, 2.0)).limit() is None


def test_batches_that_cost_more_an_item_than_smaller_ones_are_limited() -> None:
    assert learn((1, 20.0), (8, 14.6), (12, 14.4), (16, 16.7), (32, 19.0)).limit() == 12


def test_larger_batches_that_cost_nearly_the_same_are_taken() -> None:
    assert learn((1, 45.0), (8, 15.0), (32, 15.0 * NEARLY_BEST)).limit() is None


def test_a_slow_first_batch_says_little() -> None:
    sizes = BestSizes()
    sizes.count(32, 32 * 100.0)
    for _ in range(LEAST_BATCHES):
        sizes.count(32, 32 * 10.0)
        sizes.count(8, 8 * 11.0)
    assert sizes.limit() is None


def test_a_limit_is_forgotten_after_a_while_without_a_larger_batch() -> None:
    sizes = learn((8, 1.0), (32, 2.0))
    assert sizes.limit() == 8
    for _ in range(FORGOTTEN_AFTER):
        sizes.count(8, 8.0)
    assert sizes.limit() is None


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 500), st.floats(1e-6, 1e3)), max_size=100))
def test_a_limit_is_a_size_that_was_measured_and_smaller_than_another(batches: list[tuple[int, float]]) -> None:
    sizes = BestSizes()
    for items, seconds in batches:
        sizes.count(items, seconds)
    limit = sizes.limit()
    if limit is not None:
        assert limit in SIZES
        assert limit < max(items for items, _ in batches)
