"""How far a predicted noise is from the true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Literal["l2", "l1", "huber"]


def noise_error(noise_pred: Tensor, noise: Tensor, loss: Loss = "l2") -> Tensor:
    """Each row's distance between predicted and true noise: the Monte Carlo term of Diffusion Classifier.

    noise_pred: (B, C, h, w), the U-Net's output. noise: (B, C, h, w), what was added.
    Returns (B,) float32: the mean over C, h, w of d^2 (l2), |d| (l1), or the Huber function of d with delta 1.
    Source: arXiv:2303.16203, equation 6; `eval_error` of eval_prob_adaptive.py.
    """
    functions = {"l2": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.smooth_l1_loss}
    distances: Tensor = functions[loss](noise_pred.float(), noise.float(), reduction="none")
    return distances.mean(dim=(1, 2, 3))


def error_matrix(noise_preds: Sequence[Tensor], noise: Tensor, loss: Loss) -> Tensor:
    """Errors of hypotheses x units, one hypothesis at a time so that only one copy of the noise is held.

    noise_preds: (C, h, w) each, hypothesis-major. noise: (N, C, h, w), N units.
    Returns (len(noise_preds) / N, N) float32 on the host.
    """
    units = len(noise)
    hypotheses = [torch.stack(tuple(noise_preds[at : at + units])) for at in range(0, len(noise_preds), units)]
    return torch.stack([noise_error(noise_pred, noise, loss) for noise_pred in hypotheses]).cpu()
