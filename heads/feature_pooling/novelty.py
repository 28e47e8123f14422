"""Novelty of a vector: how far it is from the training data. By it a classifier answers "none of my classes"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_AXES = 256
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussians:
    """One normal distribution around each class's mean, all of the same shape.

    centres: (K, D) float32, class means of standardised features. axes: (R, D) float32, orthonormal directions in
    which features of one class differ most. variances: (R,) float32, along each. rest: (1,) float32, in all others.
    """

    centres: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: NDArray[np.float32]

    def novelty(self, inputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Squared Mahalanobis distance to the nearest class over D: about 1 for images like the training data.

        inputs: (N, D) float, standardised.
        Returns (N,) float64, at least 0.
        Source: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples (arXiv:1807.03888).
        """
        parts = [self._novelty(inputs[at : at + _ROWS_AT_ONCE]) for at in range(0, len(inputs), _ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _novelty(self, inputs: NDArray[np.floating]) -> NDArray[np.float64]:
        # The distance along the axes, and by Pythagoras what is left of it, without any (N, K, D).
        exact, centres = inputs.astype(np.float64), self.centres.astype(np.float64)
        axes = self.axes.astype(np.float64)
        along = (exact @ axes.T)[:, None] - (centres @ axes.T)[None]
        whole = (exact**2).sum(1)[:, None] - 2 * exact @ centres.T + (centres**2).sum(1)[None]
        rest = np.maximum(whole - (along**2).sum(2), 0)
        distances = (along**2 / self.variances.astype(np.float64)).sum(2) + rest / float(self.rest[0])
        nearest: NDArray[np.float64] = distances.min(axis=1) / inputs.shape[1]
        return nearest


def fit_gaussians(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], classes: int, *, most_axes: int = MOST_AXES
) -> ClassGaussians | None:
    """Class means, and one covariance within classes, shrunk to a multiple of the identity by Ledoit and Wolf's rule.

    inputs: (N, D) float64, standardised. labels: (N,) int64, 0 to classes - 1, each there. most_axes: directions
    kept; the others share the mean of their variances.
    Returns None if no class has two images that differ: then the spread within classes is unknown.
    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004).
    """
    count, dimension = inputs.shape
    centres = np.stack([inputs[labels == index].mean(axis=0) for index in range(classes)])
    spread = inputs - centres[labels]
    total = float((spread**2).sum()) / count
    if total <= 1e-12 * dimension:
        return None
    # Eigenvectors of the smaller of the two Gram matrices are enough, whichever way the data is long.
    gram = spread @ spread.T if count < dimension else spread.T @ spread
    values, vectors = np.linalg.eigh(gram / count)
    shrinkage = _shrinkage(values, (spread**2).sum(axis=1), dimension)
    kept = np.argsort(values)[::-1][: min(most_axes, count - classes, dimension - 1)]
    kept = kept[values[kept] > 1e-9 * values.max()]
    axes = vectors[:, kept].T if count >= dimension else (spread.T @ vectors[:, kept]).T
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    mean_variance = total / dimension
    variances = (1 - shrinkage) * values[kept] + shrinkage * mean_variance
    left = max(total - float(values[kept].sum()), 0.0) / max(dimension - len(kept), 1)
    rest = max((1 - shrinkage) * left + shrinkage * mean_variance, 1e-6 * mean_variance)
    return ClassGaussians(
        centres.astype(np.float32),
        axes.astype(np.float32),
        variances.astype(np.float32),
        np.array([rest], dtype=np.float32),
    )


def _shrinkage(values: NDArray[np.float64], squares: NDArray[np.float64], dimension: int) -> float:
    """Ledoit and Wolf's weight of the identity, 0 to 1, from sums that never need a (D, D).

    values: eigenvalues of the covariance, those that are 0 or not. squares: (N,) squared length of each vector.
    """
    count = len(squares)
    squared_norm = float((values**2).sum())
    mean_variance = float(squares.sum()) / count / dimension
    noise = (float((squares**2).sum()) / count - squared_norm) / (count * dimension)
    distance = squared_norm / dimension - mean_variance**2
    return 0.0 if distance <= 0 else min(max(noise / distance, 0.0), 1.0)
