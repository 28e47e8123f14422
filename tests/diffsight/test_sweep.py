"""diffsight/sweep.py: which blocks are tried, and which point is recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffsight.sweep import SweepPoint, recommend, sweep_blocks

if TYPE_CHECKING:
    pass


def test_the_swept_blocks_are_the_middle_and_the_decoder_in_order() -> None:
    names = (
        "down_blocks.0.attentions.0",
        "mid_block",
        "up_blocks.0.resnets.0",
        "up_blocks.1.resnets.0",
        "up_blocks.1.attentions.0",
    )
    expected = ("mid_block", "up_blocks.0.resnets.0", "up_blocks.1.attentions.0")
    assert sweep_blocks(None, names) == expected
    assert sweep_blocks(["up_blocks.1.resnets.0"], names) == ("up_blocks.1.resnets.0",)


def test_the_least_log_loss_is_recommended() -> None:
    points = [
        SweepPoint(("a",), 20, 1, 0.9, 0.5),
        SweepPoint(("b",), 20, 1, 0.9, 0.4),
        SweepPoint(("a", "b"), 50, 2, 0.91, 0.45),
    ]
    assert recommend(points) == points[1]
