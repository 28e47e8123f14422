"""Errors of noise estimates."""

from __future__ import annotations

import torch

from heads.diffusion_classifier.losses import noise_error


def test_losses_are_means_over_each_row() -> None:
    predicted, true = torch.zeros(2, 1, 1, 2), torch.tensor([[[[0.5, 2.0]]], [[[0.0, 0.0]]]])
    assert noise_error(predicted, true, "l2").tolist() == [2.125, 0.0]
    assert noise_error(predicted, true, "l1").tolist() == [1.25, 0.0]
    assert noise_error(predicted, true, "huber").tolist() == [0.8125, 0.0]
