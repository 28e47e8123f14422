"""Depth up to scale and shift against metres."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate_relative import score_aligned_depth, score_angles

TRUTH = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)


def test_depth_that_is_right_up_to_scale_and_shift_has_no_error() -> None:
    figures = score_aligned_depth(0.3 - 0.02 * TRUTH, TRUTH)
    assert figures["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert figures["d1"] == 1
    assert figures["n_valid"] == TRUTH.size


def test_only_known_distances_count() -> None:
    truth = TRUTH.copy()
    truth[0] = 0
    truth[1] = 60
    depth = np.where(truth == 60, 5, TRUTH).astype(np.float32)
    figures = score_aligned_depth(depth, truth)
    assert figures["n_valid"] == 32
    assert figures["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert score_aligned_depth(depth, np.zeros_like(truth)) == {"n_valid": 0}


def test_a_constant_is_as_good_as_the_mean() -> None:
    figures = score_aligned_depth(np.ones_like(TRUTH), TRUTH)
    mean = TRUTH.mean()
    assert figures["abs_rel"] == pytest.approx(float((np.abs(mean - TRUTH) / TRUTH).mean()), rel=1e-4)


def test_angles_are_in_degrees() -> None:
    truth = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    vectors = np.array([[0, 0, 1], [0, 0, 1], [0.8, 0.6, 0], [0, 0.28, 0.96]], np.float32)
    figures = score_angles(vectors, truth)
    assert figures["mean_angle"] == pytest.approx((0 + 90 + 36.87 + 16.26) / 4, abs=0.01)
    assert figures["median_angle"] == pytest.approx((36.87 + 16.26) / 2, abs=0.01)
    assert (figures["below_11.25"], figures["below_22.5"], figures["below_30"]) == (0.25, 0.5, 0.5)
