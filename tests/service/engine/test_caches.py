"""What a cache keeps, evicts and counts."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.caches import CacheFigures, TensorCache


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    cache = TensorCache(budget_bytes=8)
    for key in "ab":
        cache.put(key, torch.zeros(1))
    assert cache.get("a") is not None
    cache.put("c", torch.zeros(1))
    assert cache.get("b", counted=False) is None
    assert cache.get("a", counted=False) is not None
    assert cache.figures() == CacheFigures(entries=2, bytes=8, hits=1, misses=0)


def test_a_view_does_not_keep_its_batch_alive() -> None:
    cache = TensorCache(budget_bytes=1000)
    batch = torch.arange(100.0)
    cache.put("row", batch[:2])
    cached = cache.get("row")
    assert cached is not None
    assert cached.untyped_storage().nbytes() == 8
    assert cached.tolist() == [0.0, 1.0]


def test_a_budget_of_zero_keeps_nothing() -> None:
    cache = TensorCache(budget_bytes=0)
    cache.put("a", torch.zeros(1))
    assert cache.get("a") is None
    assert cache.figures() == CacheFigures(entries=0, bytes=0, hits=0, misses=1)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12))), st.integers(0, 100))
def test_no_entries_exceed_the_budget(puts: list[tuple[int, int]], budget: int) -> None:
    cache = TensorCache(budget)
    for key, length in puts:
        cache.put(key, torch.zeros(length))
        figures = cache.figures()
        assert figures.bytes <= budget
        cached = [tensor for other in range(10) if (tensor := cache.get(other, counted=False)) is not None]
        assert figures.bytes == sum(tensor.nbytes for tensor in cached)
