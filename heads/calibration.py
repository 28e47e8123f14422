"""The temperature that calibrates probabilities, fitted to answers with known truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax


def fit_temperature(
    logits: NDArray[np.float64],
    truth: NDArray[np.int64],
    *,
    weights: NDArray[np.float64] | None = None,
    bounds: tuple[float, float] = (-4.0, 4.0),
) -> tuple[float, float]:
    """The temperature that makes the true labels most likely, and the log loss at it.

    logits: (N, K) float64. truth: (N,) int64. weights: (N,) float64, of each answer; None counts them alike.
    bounds: natural logarithms of the least and the largest temperature.
    Each class is counted once more (Laplace's rule): without it a set of right answers would give a temperature of
    zero.
    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599); Platt (1999) for the targets.
    """
    from scipy.optimize import minimize_scalar  # takes a second: imported only for a fit

    count, classes = logits.shape
    shares = np.full(count, 1 / count) if weights is None else weights / weights.sum()
    doubt = classes / (count + classes)

    def loss(logarithm: float) -> float:
        logs = log_softmax(logits / np.exp(logarithm), axis=1)
        right = logs[np.arange(count), truth]
        return float(-(shares * ((1 - doubt) * right + doubt * logs.mean(axis=1))).sum())

    optimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(optimum.x)), float(optimum.fun)
