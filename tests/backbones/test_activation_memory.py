"""Memory of activations, and how many items fit, for any sizes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.activation_memory import UNKNOWN, activation_bytes, count_fitting, item_bytes, positions_of
from backbones.rows import Capture, UNetRow

GIB = 1 << 30


def network(width: int) -> Any:
    return SimpleNamespace(config=SimpleNamespace(block_out_channels=(width, 2 * width)))


PUBLISHED = activation_bytes(network(320), network(128), torch.float32)


def test_the_measured_sizes_of_the_published_networks_are_met() -> None:
    row = UNetRow(torch.zeros(4, 64, 64), 0, None, Capture())
    large = UNetRow(torch.zeros(4, 96, 96), 0, None, Capture())
    encodes = [item_bytes("encode", torch.empty(3, *size, device="meta"), PUBLISHED, 8)
               for size in ((1024, 768), (512, 384), (512, 512))]  # fmt: skip
    assert encodes[0] == 4 * encodes[1]
    assert 1.9 <= encodes[0] / GIB <= 2.5
    assert 0.6 <= encodes[2] / GIB <= 0.8
    assert 0.12 <= item_bytes("unet", row, PUBLISHED, 8) / GIB <= 0.14
    assert 0.27 <= item_bytes("unet", large, PUBLISHED, 8) / GIB <= 0.31
    assert item_bytes("decode", torch.zeros(4, 64, 64), PUBLISHED, 8) == 2 * encodes[2]
    assert item_bytes("embed", "a cat", PUBLISHED, 8) == 0


def test_half_precision_takes_half_and_what_is_not_known_bounds_nothing() -> None:
    half = activation_bytes(network(320), None, torch.float16)
    assert (half.unet, half.encode) == (PUBLISHED.unet / 2, 0)
    assert count_fitting(item_bytes("unet", torch.zeros(4, 8, 8), UNKNOWN, 8), 10.0) is None
    assert positions_of("text") == 1


@settings(deadline=None, derandomize=True)
@given(st.floats(1, 1e12), st.floats(0, 1e12))
def test_a_batch_takes_at_most_half_of_the_free_memory_or_is_a_single_item(each: float, free: float) -> None:
    count = count_fitting(each, free)
    assert count is not None
    assert count == 1 or count * each <= free / 2
    assert (count + 1) * each > free / 2
