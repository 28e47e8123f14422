"""Which parameters learn, by parts of their names."""

from __future__ import annotations

import pytest

from training.parts import learns


@pytest.mark.parametrize(
    ("parts", "expected"),
    [([], True), (["attn1"], True), (["attn2", "mid_block"], False), (["attn2", "down_blocks"], True)],
)
def test_a_parameter_learns_if_its_name_holds_a_part(parts: list[str], expected: bool) -> None:
    assert learns("down_blocks.0.attentions.0.attn1.to_q.weight", parts) is expected
