"""The random numbers of a step."""

from __future__ import annotations

import torch

from training.loop import draw_for


def test_the_randomness_of_a_step_depends_on_seed_stage_and_number_alone() -> None:
    draws = [draw_for(*key) for key in ((0, "a", 1), (0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2))]
    numbers = [(draw.numpy.random(), float(torch.rand((), generator=draw.torch))) for draw in draws]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 4
