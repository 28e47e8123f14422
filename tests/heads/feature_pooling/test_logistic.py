"""Logistic regression on vectors: settings and figures come from images outside the fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from backbones.errors import InvalidInput
from heads.feature_pooling.logistic import STRENGTHS, LogisticClassifier, fit_logistic, fold_numbers

NAMES = ("ant", "bee", "cat")


def blobs(
    *counts: int, dimension: int = 6, apart: float = 3.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Normal blobs around corners, so many vectors a class: (N, D) float32 and (N,) int64."""
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = np.random.default_rng(seed).normal(size=(len(labels), dimension))
    vectors[np.arange(len(labels)), labels] += apart
    return vectors.astype(np.float32), labels


def test_the_answer_is_that_of_scikit_learn() -> None:
    vectors, labels = blobs(30, 30, 30)
    classifier, report = fit_logistic(vectors, labels, NAMES)
    inputs = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    model = LogisticRegression(C=report.strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    expected = model.fit(inputs, labels).decision_function(inputs)
    expected -= expected.mean(axis=1, keepdims=True)
    logits = classifier.standardise(vectors) @ classifier.weights.T + classifier.bias
    np.testing.assert_allclose(logits - logits.mean(axis=1, keepdims=True), expected, atol=0.02)
    assert report.accuracy is not None
    assert report.accuracy > 0.8


def test_more_values_than_images_give_the_same_optimum() -> None:
    vectors, labels = blobs(8, 9, dimension=100)
    classifier, report = fit_logistic(vectors, labels, NAMES[:2], strengths=(0.1,))
    scale = np.where(vectors.std(axis=0) > 0, vectors.std(axis=0), 1)
    inputs = (vectors - vectors.mean(axis=0)) / scale
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000, tol=1e-8).fit(inputs, labels)
    difference = classifier.weights[1] - classifier.weights[0]
    np.testing.assert_allclose(difference, model.coef_[0], atol=2e-3)
    assert report.strength == 0.1


def test_probabilities_sum_to_one_and_follow_held_out_accuracy() -> None:
    vectors, labels = blobs(200, 200, 200, apart=1.5)
    classifier, report = fit_logistic(vectors, labels, NAMES)
    fresh, truth = blobs(400, 400, 400, apart=1.5, seed=1)
    probabilities = classifier.probabilities(fresh)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    right = probabilities.argmax(axis=1) == truth
    assert classifier.calibrated
    assert probabilities.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.05)
    assert report.accuracy == pytest.approx(right.mean(), abs=0.06)


def test_perfect_folds_do_not_make_it_certain() -> None:
    vectors, labels = blobs(5, 5, apart=100.0)
    classifier, report = fit_logistic(vectors, labels, NAMES[:2])
    assert report.accuracy == 1
    assert classifier.probabilities(vectors).max() < 0.99


def test_classes_weigh_alike_however_many_images_they_have() -> None:
    vectors, labels = blobs(200, 10, apart=1.0)
    classifier, report = fit_logistic(vectors, labels, NAMES[:2])
    fresh, truth = blobs(500, 500, apart=1.0, seed=1)
    answers = classifier.probabilities(fresh).argmax(axis=1)
    assert (answers[truth == 1] == 1).mean() > 0.5
    assert report.images == (200, 10)


def test_figures_fit_together() -> None:
    vectors, labels = blobs(20, 7, 1)
    _, report = fit_logistic(vectors, labels, NAMES)
    assert report.validated == 27 == report.confusion.sum()
    assert report.confusion.sum(axis=1).tolist() == [20, 7, 0]
    assert report.recall[2] is None
    assert report.recall[0] == report.confusion[0, 0] / 20
    assert report.accuracy == np.trace(report.confusion) / 27
    assert [trial.strength for trial in report.tried] == list(STRENGTHS)
    assert report.log_loss == min(trial.log_loss for trial in report.tried)


def test_two_classes_with_one_image_each_are_distinguished_and_nothing_is_claimed() -> None:
    vectors, labels = blobs(1, 1)
    classifier, report = fit_logistic(vectors, labels, NAMES[:2])
    assert classifier.probabilities(vectors).argmax(axis=1).tolist() == [0, 1]
    assert (report.accuracy, report.folds, report.validated, report.log_loss) == (None, 0, 0, None)
    assert report.recall == (None, None)
    assert (classifier.calibrated, classifier.threshold, classifier.novelty(vectors)) == (False, None, None)


def test_a_value_that_never_changes_does_no_harm() -> None:
    vectors, labels = blobs(10, 10)
    vectors[:, 5] = 12345.678
    classifier, _ = fit_logistic(vectors, labels, NAMES[:2])
    assert np.isfinite(classifier.probabilities(vectors)).all()


def test_the_same_images_give_the_same_classifier() -> None:
    vectors, labels = blobs(12, 12, 12)
    first, second = (fit_logistic(vectors, labels, NAMES)[0] for _ in range(2))
    assert_same(first, second)


def assert_same(actual: LogisticClassifier, expected: LogisticClassifier) -> None:
    np.testing.assert_array_equal(actual.weights, expected.weights)
    assert (actual.temperature, actual.threshold) == (expected.temperature, expected.threshold)


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (2, 2), (3, 50), (7, 1, 5), (100, 100, 100)])
def test_folds_hold_out_every_image_once_and_never_a_whole_class(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    folds = fold_numbers(labels)
    for index, count in enumerate(counts):
        own = folds[labels == index]
        if count == 1:
            assert own.tolist() == [-1]
        else:
            assert len(set(own.tolist())) >= 2
            assert own.min() >= 0
    used = sorted(set(folds.tolist()) - {-1})
    assert used == list(range(len(used)))


def test_invalid_examples_are_refused() -> None:
    vectors, labels = blobs(3, 3)
    with pytest.raises(InvalidInput, match="only the class 'ant'"):
        fit_logistic(vectors[:3], labels[:3], ("ant",))
    with pytest.raises(InvalidInput, match="no image of 'cat'"):
        fit_logistic(vectors, labels, NAMES)
    with pytest.raises(InvalidInput, match="6 labels"):
        fit_logistic(vectors[:5], labels, NAMES[:2])
    vectors[4, 2] = np.nan
    with pytest.raises(InvalidInput, match="NaN") as refused:
        fit_logistic(vectors, labels, NAMES[:2])
    assert refused.value.field == "vectors.4"


def test_a_check_that_raises_ends_the_fit() -> None:
    vectors, labels = blobs(5, 5)

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_logistic(vectors, labels, NAMES[:2], check=check)
