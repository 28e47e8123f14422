"""Depth up to scale and shift against metres."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate_relative import aligned_figures

TRUTH = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)


def test_depth_that_is_right_up_to_scale_and_shift_has_no_error() -> None:
    figures = aligned_figures(0.3 - 0.02 * TRUTH, TRUTH)
    assert figures["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert figures["d1"] == 1
    assert figures["n_valid"] == TRUTH.size


def test_only_known_distances_count() -> None:
    truth = TRUTH.copy()
    truth[0] = 0
    truth[1] = 60
    depth = np.where(truth == 60, 5, TRUTH).astype(np.float32)
    figures = aligned_figures(depth, truth)
    assert figures["n_valid"] == 32
    assert figures["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert aligned_figures(depth, np.zeros_like(truth)) == {"n_valid": 0}


def test_a_constant_is_as_good_as_the_mean() -> None:
    figures = aligned_figures(np.ones_like(TRUTH), TRUTH)
    mean = TRUTH.mean()
    assert figures["abs_rel"] == pytest.approx(float((np.abs(mean - TRUTH) / TRUTH).mean()), rel=1e-4)
