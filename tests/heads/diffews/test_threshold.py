"""Thresholds of the mask: levels, their mean, and thresholds that are refused."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import InvalidInput
from heads.diffews.threshold import PUBLISHED, Threshold, cut, cut_at, levels, mean_map


def test_levels_are_cut_off_and_not_rounded() -> None:
    decoded = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 5.0]).view(1, 1, 6).expand(3, 1, 6)
    assert levels(decoded)[0, 0].tolist() == [0, 0, 127, 254, 255, 255]


def test_a_relative_threshold_is_a_share_of_the_strongest_value() -> None:
    rgb = torch.zeros(3, 2, 2, dtype=torch.uint8)
    rgb[0, 0, 0] = 200
    rgb[:, 1, 1] = 60
    assert cut_at(rgb, PUBLISHED) == pytest.approx(0.25 * 200 / 255)
    assert mean_map(rgb)[0, 0].item() == pytest.approx(200 / 3 / 255)
    assert cut(rgb, PUBLISHED).tolist() == [[True, False], [False, True]]


def test_an_absolute_threshold_may_leave_nothing() -> None:
    rgb = torch.full((3, 4, 4), 30, dtype=torch.uint8)
    assert cut(rgb, PUBLISHED).all()
    assert not cut(rgb, Threshold("absolute", 0.15)).any()


@pytest.mark.parametrize(("kind", "value"), [("relative", 0.0), ("absolute", 1.0), ("other", 0.5)])
def test_an_invalid_threshold_is_refused(kind: str, value: float) -> None:
    with pytest.raises(InvalidInput):
        Threshold(kind, value)  # type: ignore[arg-type]
