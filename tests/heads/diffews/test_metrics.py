"""Scores of cases that the fixtures do not have."""

from __future__ import annotations

import numpy as np
import pytest

from heads.diffews.metrics import areas, scores


def test_areas_are_summed_before_they_are_divided() -> None:
    truth = np.array([[1, 1, 0, 0]])
    pairs = [areas(np.array([mask]), truth, np.array([[0, 0, 0, 7]])) for mask in ([1, 0, 0, 1], [1, 1, 1, 1])]
    assert [pair[0].tolist() for pair in pairs] == [[1, 1], [0, 2]]
    assert [pair[1].tolist() for pair in pairs] == [[2, 2], [1, 3]]
    result = scores([4, 9], [4, 4], *zip(*pairs, strict=True))
    assert result.class_iou == (3 / 5, 0.0)
    assert result.mean_iou == pytest.approx(30.0)
    assert result.fb_iou == pytest.approx(50 * (1 / 3 + 3 / 5))
