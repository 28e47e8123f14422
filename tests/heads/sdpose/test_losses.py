"""The training loss and its accuracy."""

from __future__ import annotations

import pytest
import torch

from heads.sdpose.losses import heatmap_loss, pck


def test_points_without_weight_add_nothing_and_count_in_the_mean() -> None:
    predicted, target = torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)
    assert float(heatmap_loss(predicted, target, torch.tensor([[1.0, 0.0]]))) == pytest.approx(0.5)


def test_the_share_of_points_found_is_taken_over_labelled_ones() -> None:
    target = torch.zeros(2, 3, 20, 10)
    target[:, :, 10, 5] = 1.0
    predicted = target.clone()
    predicted[1, 0] = 0.0
    predicted[1, 0, 0, 0] = 1.0
    share, mean = pck(predicted, target, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))
    assert share.tolist() == [0.5, 1.0, -1.0]
    assert mean == pytest.approx(0.75)
