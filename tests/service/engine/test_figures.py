"""The figures of a batch."""

from __future__ import annotations

import pytest

from service.engine.caches import CacheFigures
from service.engine.figures import EngineCounts, EngineFigures, RanBatch
from service.engine.queue import Kind


def make_batch(kind: Kind, tasks: list[str], seconds: float) -> RanBatch:
    return RanBatch(kind, tuple(tasks), 0.0, seconds, "device 0")


def read(counts: EngineCounts) -> EngineFigures:
    empty = CacheFigures(entries=0, bytes=0, hits=0, misses=0)
    return counts.read(waiting=5, requests_open=2, contexts_cache=empty, latents_cache=empty)


def test_rows_are_counted_by_task() -> None:
    counts = EngineCounts()
    counts.count_batch(make_batch("unet", ["depth", "pose", "depth"], seconds=0.5))
    figures = read(counts)
    assert figures.rows_by_task == {"depth": 2, "pose": 1}
    assert (figures.rows_total, figures.batches_total, figures.device_seconds_total) == (3, 1, 0.5)
    assert (figures.waiting_rows, figures.requests_open) == (5, 2)


def test_other_work_counts_as_time_of_the_device_only() -> None:
    counts = EngineCounts()
    counts.count_batch(make_batch("encode", ["depth"], seconds=0.25))
    figures = read(counts)
    assert (figures.rows_total, figures.batches_total, figures.running_rows) == (0, 0, 0)
    assert figures.device_seconds_total == 0.25


def test_the_rate_follows_the_batches() -> None:
    counts = EngineCounts()
    for _ in range(100):
        counts.count_batch(make_batch("unet", ["depth"] * 32, seconds=0.1))
    assert counts.items_per_second == pytest.approx(320, rel=0.01)
