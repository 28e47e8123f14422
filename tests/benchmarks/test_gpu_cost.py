"""The cost model agrees with known figures of the published networks, and with the recorded table."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.gpu_cost import CARDS, RECORD, WORK, encode, markdown, measure, whole_row


def test_a_row_of_the_published_size_has_the_known_arithmetic_and_memory() -> None:
    row = whole_row(1, torch.float32)
    assert row.flops / 2 == pytest.approx(0.40e12, rel=0.1)
    # Measured on a CPU in float32: 0.125 GiB a row, and 0.6 GiB an encode of 512 x 512 pixels.
    assert row.peak_bytes == pytest.approx(0.125 * 2**30, rel=0.1)
    assert encode(512, 512)(1, torch.float32).peak_bytes == pytest.approx(0.6 * 2**30, rel=0.1)


def test_the_recorded_figures_are_those_of_this_code() -> None:
    recorded = json.loads(RECORD.read_text())["figures"]
    few = [work for work in WORK if work.task in ("features", "few-shot")]
    for name, value in measure(few, ["bfloat16"], [8]).items():
        assert value == pytest.approx(recorded[name], rel=1e-3), name


def test_a_batch_takes_no_less_than_its_arithmetic_and_half_precision_is_faster() -> None:
    recorded = json.loads(RECORD.read_text())["figures"]
    for card in CARDS:
        for work in WORK:
            half, full = (
                recorded[f"{work.task}, {kind}, 32: {work.unit} a second, {card.name}"]
                for kind in ("bfloat16", "float32")
            )
            assert half > 1.5 * full
            peak = max(card.half.convolution, card.half.product)
            assert half < 32 * peak / (1e12 * recorded[f"{work.task}, bfloat16, 32: TFLOP"])


def test_every_task_has_a_line_in_the_table() -> None:
    lines = markdown().splitlines()
    assert len(lines) == 2 + 2 * len(WORK)
    assert len({line.count("|") for line in lines}) == 1
