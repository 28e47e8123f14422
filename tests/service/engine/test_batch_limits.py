"""How large a batch may be, for any memory, speed and history."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.activation_memory import ActivationBytes
from service.engine.batch_limits import FULL_BATCH, RECOVERY_BATCHES, SHORT_SECONDS, BatchLimits, largest_batch
from service.engine.best_sizes import LEAST_BATCHES
from tests.service.engine.hand_driven import InstantBackbone, make_instant_rows

counts = st.none() | st.integers(1, 10_000)
seconds = st.none() | st.floats(0, 1e4)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 4096), counts, seconds, st.floats(0.01, 100) | st.just(math.inf), counts, counts)
def test_every_bound_holds_and_one_item_always_runs(
    most: int,
    fitting: int | None,
    each: float | None,
    longest: float,
    failed_above: int | None,
    cheapest: int | None,
) -> None:
    size = largest_batch(
        most=most,
        fitting=fitting,
        seconds_each=each,
        max_seconds=longest,
        failed_above=failed_above,
        cheapest=cheapest,
    )
    assert size >= 1
    if size > 1:
        assert size <= min(bound for bound in (most, fitting, failed_above, cheapest, math.inf) if bound)
        assert each is None or size * each <= longest * (1 + 1e-6)
        assert most or size <= FULL_BATCH or size * (each or 0) <= SHORT_SECONDS * (1 + 1e-6)


def limits(free: int = 1 << 40, **changes: float) -> tuple[BatchLimits, InstantBackbone]:
    backbone = InstantBackbone()
    memory = ActivationBytes(encode=2600.0, decode=5200.0, unet=1 << 20)
    backbone.description = replace(backbone.description, activation_bytes=memory)
    return BatchLimits(0, changes.get("max_seconds", 2.0), free=lambda device: free), backbone


def test_an_encode_of_four_times_the_pixels_takes_a_quarter_of_the_places() -> None:
    bounded, backbone = limits(free=20 << 30)
    large, small = (torch.empty(3, *size, device="meta") for size in ((1024, 768), (512, 384)))
    assert bounded.limit("encode", backbone, small) == 21
    assert bounded.limit("encode", backbone, large) == 5
    assert bounded.limit("decode", backbone, torch.empty(1, 128, 96, device="meta")) == 2


def test_slow_items_run_one_by_one_and_other_sizes_are_expected_by_their_pixels() -> None:
    bounded, backbone = limits()
    small, large = torch.zeros(3, 16, 16), torch.zeros(3, 32, 32)
    assert bounded.limit("encode", backbone, small) == FULL_BATCH
    bounded.count("encode", backbone, small, items=4, seconds=4 * 0.25)
    assert bounded.limit("encode", backbone, small) == 8
    assert bounded.limit("encode", backbone, large) == 2
    for _ in range(10):
        bounded.count("encode", backbone, small, items=1, seconds=11.0)
    assert bounded.limit("encode", backbone, small) == 1
    (row,) = make_instant_rows(1)
    assert bounded.limit("unet", backbone, row) == FULL_BATCH


def test_fast_items_fill_larger_batches() -> None:
    bounded, backbone = limits()
    (row,) = make_instant_rows(1)
    bounded.count("unet", backbone, row, items=32, seconds=32 * 0.001)
    assert bounded.limit("unet", backbone, row) == 250


def test_a_limit_that_memory_set_recovers() -> None:
    bounded, backbone = limits()
    (row,) = make_instant_rows(1)
    bounded.count_out_of_memory("unet", backbone, row, 16)
    bounded.count_out_of_memory("unet", backbone, row, 8)
    assert bounded.limit("unet", backbone, row) == 4
    for _ in range(RECOVERY_BATCHES - 1):
        bounded.count("unet", backbone, row, items=4, seconds=0.001)
    assert bounded.limit("unet", backbone, row) == 4
    bounded.count("unet", backbone, row, items=4, seconds=0.001)
    assert bounded.limit("unet", backbone, row) == 8


def test_a_size_past_which_items_cost_the_processor_more_is_not_passed() -> None:
    bounded, backbone = limits()
    small, large = torch.zeros(3, 16, 16), torch.zeros(3, 32, 32)
    for _ in range(LEAST_BATCHES):
        for items, each in ((8, 1e-3), (32, 2e-3)):
            bounded.count("encode", backbone, small, items, items * each, items * each)
            bounded.count("encode", backbone, large, items, items * each)
    assert bounded.limit("encode", backbone, small) == 8
    assert bounded.limit("encode", backbone, large) > 8
