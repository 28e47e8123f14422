"""Novelty, against numbers by hand and from scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from heads.feature_pooling.logistic import fit_logistic
from heads.feature_pooling.novelty import fit_gaussians

NAMES = ("ant", "bee", "cat")


def blobs(
    *counts: int, dimension: int = 6, apart: float = 3.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Normal blobs around corners, so many vectors a class: (N, D) float32 and (N,) int64."""
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = np.random.default_rng(seed).normal(size=(len(labels), dimension))
    vectors[np.arange(len(labels)), labels] += apart
    return vectors.astype(np.float32), labels


def test_a_vector_unlike_every_class_is_novel() -> None:
    vectors, labels = blobs(100, 100, 100)
    classifier, _ = fit_logistic(vectors, labels, NAMES)
    fresh, _ = blobs(300, 300, 300, seed=1)
    assert classifier.threshold is not None
    known_novelty = classifier.novelty(fresh)
    far = classifier.novelty(fresh + np.float32(6))
    assert known_novelty is not None
    assert far is not None
    assert (known_novelty <= classifier.threshold).mean() == pytest.approx(0.95, abs=0.04)
    assert (far > classifier.threshold).all()
    assert known_novelty.mean() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("dimension", [6, 200])
def test_novelty_is_the_shrunk_mahalanobis_distance(dimension: int) -> None:
    vectors, labels = blobs(20, 20, dimension=dimension)
    classifier, _ = fit_logistic(vectors, labels, NAMES[:2])
    gaussians = classifier.gaussians
    assert gaussians is not None
    inputs = classifier.standardise(vectors)
    covariance = gaussians.axes.T @ np.diag(gaussians.variances - gaussians.rest[0]) @ gaussians.axes
    precision = np.linalg.inv(covariance + gaussians.rest[0] * np.eye(dimension))
    away = inputs[:, None] - gaussians.centres[None]
    expected = np.einsum("nkd,de,nke->nk", away, precision, away).min(axis=1) / dimension
    np.testing.assert_allclose(gaussians.novelty(inputs), expected, rtol=1e-3)


@pytest.mark.parametrize("dimension", [6, 200])
def test_the_covariance_is_that_of_ledoit_and_wolf(dimension: int) -> None:
    vectors, labels = blobs(20, 25, dimension=dimension)
    inputs = vectors.astype(np.float64)
    gaussians = fit_gaussians(inputs, labels, 2, most_axes=dimension)
    assert gaussians is not None
    centres = np.stack([inputs[labels == index].mean(axis=0) for index in range(2)])
    expected, _ = ledoit_wolf(inputs - centres[labels], assume_centered=True)
    spread = np.diag(gaussians.variances - gaussians.rest[0])
    covariance = gaussians.axes.T @ spread @ gaussians.axes + gaussians.rest[0] * np.eye(dimension)
    np.testing.assert_allclose(covariance, expected, atol=1e-4 if dimension == 200 else 0.05)
