"""Figures against naive ones and ones computed by hand; the fixtures have the original's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heads.vpd.metrics import IoUCounts, depth_figures, mean_figures, referring_figures, silog_loss, valid_depth


def test_the_eigen_crop_is_half_open() -> None:
    truth = torch.full((480, 640), 2.0)
    valid = valid_depth(truth, eigen=True)
    assert int(valid.sum()) == (471 - 45) * (601 - 41)
    assert bool(valid[45, 41])
    assert not bool(valid[471, 300])
    truth[100, 100] = 10.0
    assert not bool(valid_depth(truth, eigen=False)[100, 100])


def test_depth_figures_of_twice_the_truth() -> None:
    truth = torch.full((2, 2), 2.0)
    figures = depth_figures(truth * 2, truth, valid_depth(truth, eigen=False))
    assert figures["abs_rel"] == 1.0
    assert figures["rmse"] == 2.0
    assert figures["d1"] == figures["d2"] == 0.0
    assert figures["log10"] == pytest.approx(math.log10(2))
    assert figures["silog"] == pytest.approx(math.log(2) * math.sqrt(0.5))
    assert float(silog_loss(truth * 2, truth)) == pytest.approx(math.log(2) * math.sqrt(0.5))


def test_a_prediction_that_is_no_number_counts_as_bad_and_not_as_missing() -> None:
    truth = torch.full((1, 2), 2.0)
    figures = depth_figures(torch.tensor([[math.inf, math.nan]]), truth, truth > 0)
    assert figures["rmse"] == pytest.approx(math.sqrt((8**2 + 1.999**2) / 2))
    assert mean_figures([figures, {**figures, "n_valid": 0, "rmse": math.nan}])["rmse"] == figures["rmse"]
    assert mean_figures([]) == {"n_valid": 0}


def test_iou_is_that_of_a_naive_count() -> None:
    generator = np.random.default_rng(0)
    counts = IoUCounts.zeros(4)
    pairs = [(generator.integers(0, 3, (9, 7)), generator.integers(0, 3, (9, 7))) for _ in range(3)]
    for predicted, truth in pairs:
        truth[0] = 255
        counts.add(predicted, truth)
    predicted, truth = np.stack([prediction for prediction, _ in pairs]), np.stack([label for _, label in pairs])
    kept = truth != 255
    ious = [
        ((predicted == k) & (truth == k))[kept].sum() / ((predicted == k) | (truth == k))[kept].sum() for k in range(3)
    ]
    assert counts.by_class()[:3] == pytest.approx(ious)
    assert math.isnan(counts.by_class()[3])
    assert counts.figures()["miou"] == pytest.approx(np.mean(ious))
    assert counts.figures()["aacc"] == pytest.approx((predicted == truth)[kept].mean())


def test_referring_figures() -> None:
    figures = referring_figures([(50, 100), (9, 10), (0, 0)])
    assert figures["oiou"] == pytest.approx(59 / 110)
    assert figures["miou"] == pytest.approx((0.5 + 0.9) / 3)
    assert figures["p@0.5"] == pytest.approx(2 / 3)
    assert figures["p@0.9"] == pytest.approx(1 / 3)
