"""Accuracy of a backbone in training, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.zero_shot import accuracy, evenly_spaced_timesteps


@pytest.mark.parametrize(("count", "expected"), [(4, [125, 375, 625, 875]), (500, list(range(1, 1000, 2)))])
def test_timesteps_are_the_middles_of_equal_parts(count: int, expected: list[int]) -> None:
    assert evenly_spaced_timesteps(count).tolist() == expected


def test_accuracy_takes_the_label_with_the_smallest_mean_error() -> None:
    errors = np.array([[[1.0, 1.0], [0.0, 1.5]], [[0.0, 0.0], [1.0, 1.0]]], dtype=np.float32)
    assert accuracy(errors, np.array([1, 1])) == 0.5
