"""A classifier fitted to vectors of labelled images: logistic regression, and estimates of its accuracy.

Strength, temperature, threshold and accuracy come from cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from backbones.errors import InvalidInput
from heads.calibration import fit_temperature
from heads.feature_pooling.novelty import ClassGaussians, fit_gaussians

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty to choose from: the field's C, smaller is smoother."""

DEFAULT_STRENGTH = 0.01
MOST_FOLDS = 5
KNOWN_SHARE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class LogisticClassifier:
    """Multinomial logistic regression over standardised vectors.

    classes: K names. mean, scale: (D,) float32, of the fitting set. weights: (K, D) float32; bias: (K,) float32.
    temperature: what logits are divided by. calibrated: False if there was no held-out image to fit it. gaussians,
    threshold: a vector with more novelty than the threshold belongs to none of the classes; None if the spread of the
    classes is unknown.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    calibrated: bool
    gaussians: ClassGaussians | None
    threshold: float | None

    def standardise(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Vectors (N, D) float32 -> (N, D) float64, with the fitting set's mean at 0 and its deviation at 1."""
        inputs: NDArray[np.float64] = (vectors.astype(np.float64) - self.mean) / self.scale
        return inputs

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) float64, rows summing to 1, for vectors (N, D) float32; for equal priors of the classes."""
        logits = self.standardise(vectors) @ self.weights.T.astype(np.float64) + self.bias
        probabilities: NDArray[np.float64] = softmax(logits / self.temperature, axis=1)
        return probabilities

    def novelty(self, vectors: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """(N,) float64 for vectors (N, D) float32, see `ClassGaussians`; None without any."""
        return None if self.gaussians is None else self.gaussians.novelty(self.standardise(vectors))


@dataclass(frozen=True, slots=True)
class Strength:
    """One strength of regularisation on held-out folds: log loss and mean recall of the classes."""

    strength: float
    log_loss: float
    balanced_accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class FitReport:
    """Results of cross-validation. The image of a class with one image is never held out, so its recall is unknown.

    validated: images that were held out once. folds: 0 if nothing could be held out; figures are None then.
    accuracy: share of them answered right. balanced_accuracy: mean of the known recalls.
    confusion: (K, K) int64, rows the truth, columns the answer. recall: one a class, None if it was never held out.
    log_loss: of the chosen strength at the fitted temperature. strength: the chosen one, None if a head has none.
    tried: all of them.
    """

    images: tuple[int, ...]
    validated: int
    folds: int
    accuracy: float | None
    balanced_accuracy: float | None
    confusion: NDArray[np.int64]
    recall: tuple[float | None, ...]
    log_loss: float | None
    strength: float | None
    tried: tuple[Strength, ...]


def fit_logistic(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    strengths: Sequence[float] = STRENGTHS,
    check: Callable[[], None] = lambda: None,
) -> tuple[LogisticClassifier, FitReport]:
    """Fit on all images, with the strength that cross-validation chose. Deterministic for images in the same order.

    vectors: (N, D) float32. labels: (N,) int64, indices into `classes`, each of which has an image.
    Classes have equal weight whatever their number of images. check: called between steps; an exception of it ends the
    fit.
    Raises InvalidInput for fewer than two classes, a class without images, and vectors that are not finite.
    """
    counts = check_examples(vectors, labels, classes)
    folds = fold_numbers(labels)
    held_out = _HeldOut.empty(len(strengths), len(labels), len(classes))
    for fold in range(int(folds.max()) + 1):
        inside, outside = folds != fold, folds == fold
        mean, scale = _moments(vectors[inside])
        inputs, others = (vectors[inside] - mean) / scale, (vectors[outside] - mean) / scale
        for place, (weights, bias) in enumerate(_path(inputs, labels[inside], len(classes), strengths, check)):
            held_out.logits[place, outside] = others @ weights.T + bias
        gaussians = fit_gaussians(inputs, labels[inside], len(classes))
        check()
        held_out.novelty[outside] = np.nan if gaussians is None else gaussians.novelty(others)
    report, temperature = report_of(held_out.logits, labels, folds, counts, strengths)
    mean, scale = _moments(vectors)
    inputs = (vectors - mean) / scale
    ((weights, bias),) = _path(inputs, labels, len(classes), (report.strength or DEFAULT_STRENGTH,), check)
    gaussians = fit_gaussians(inputs, labels, len(classes))
    novelty = held_out.novelty[np.isfinite(held_out.novelty)]
    threshold = float(np.quantile(novelty, KNOWN_SHARE)) if gaussians is not None and len(novelty) else None
    classifier = LogisticClassifier(
        classes=tuple(classes),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        temperature=temperature,
        calibrated=report.folds > 0,
        gaussians=gaussians if threshold is not None else None,
        threshold=threshold,
    )
    return classifier, report


def check_examples(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]
) -> NDArray[np.int64]:
    """Images a class, (K,) int64. vectors: (N, D) float32. labels: (N,) int64, indices into `classes`.

    Raises InvalidInput as `fit_logistic` does.
    """
    if len(classes) < 2:
        message = f"only the class {classes[0]!r}" if classes else "no class"
        raise InvalidInput("labels", message, hint="send images of at least two classes")
    if vectors.ndim != 2 or len(vectors) != len(labels):
        raise InvalidInput("vectors", f"{vectors.shape} for {len(labels)} labels", hint="send one vector an image")
    counts = np.bincount(labels, minlength=len(classes)).astype(np.int64)
    if len(counts) > len(classes) or not counts.all():
        empty = [name for name, count in zip(classes, counts, strict=False) if not count]
        raise InvalidInput("labels", f"no image of {empty[0]!r}" if empty else "a label without a class")
    sick = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(sick):
        raise InvalidInput(
            f"vectors.{sick[0]}", "the vector holds NaN or infinity", hint="compute it in float32, or leave it out"
        )
    return counts


def fold_numbers(labels: NDArray[np.int64], most_folds: int = MOST_FOLDS) -> NDArray[np.int64]:
    """Which fold holds each image out, (N,) int64; -1 for the only image of a class, which is always fitted on.

    labels: (N,) int64. A class is spread evenly over the folds, and has images in two of them at least.
    """
    counts = np.bincount(labels)
    folds = min(most_folds, int(counts.max()))
    numbers = np.full(len(labels), -1, dtype=np.int64)
    generator = np.random.default_rng(0)
    start = 0
    for index in np.flatnonzero(counts > 1):
        members = generator.permutation(np.flatnonzero(labels == index))
        numbers[members] = (start + np.arange(len(members))) % folds
        start += len(members)
    # Small classes may leave a fold empty.
    used = np.unique(numbers[numbers >= 0])
    return np.where(numbers < 0, -1, np.searchsorted(used, numbers))


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOut:
    """What models that had not seen an image said of it. logits: (strengths, N, K) float64. novelty: (N,) float64."""

    logits: NDArray[np.float64]
    novelty: NDArray[np.float64]

    @classmethod
    def empty(cls, strengths: int, images: int, classes: int) -> _HeldOut:
        return cls(np.full((strengths, images, classes), np.nan), np.full(images, np.nan))


def _moments(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each value, (D,) float64; 1 for one that never changes."""
    exact = vectors.astype(np.float64)
    deviation = exact.std(axis=0)
    return exact.mean(axis=0), np.where(deviation > 1e-6 * (1 + np.abs(exact).max(axis=0)), deviation, 1.0)


def _path(
    inputs: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: int,
    strengths: Sequence[float],
    check: Callable[[], None],
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Weights (K, D) and bias (K,) at each strength, in ascending order, each beginning where the last one ended.

    inputs: (N, D) float64, standardised.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second: only what is fitted pays for it

    count, dimension = inputs.shape
    basis = None
    if count < dimension:
        # The penalised optimum lies in the span of the inputs: N coordinates instead of D, for the same answer.
        basis, corner = np.linalg.qr(inputs.T)
        inputs = corner.T
    model = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-4, warm_start=True)
    fitted = []
    for strength in strengths:
        check()
        model.set_params(C=strength).fit(inputs, labels)
        weights, bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
        if classes == 2:
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        fitted.append((weights if basis is None else weights @ basis.T, bias))
    return fitted


def report_of(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    counts: NDArray[np.int64],
    strengths: Sequence[float],
) -> tuple[FitReport, float]:
    """The report, and the temperature, from held-out logits (strengths, N, K).

    labels, folds: (N,) int64, a fold of -1 held nothing out. counts: (K,) int64, images a class.
    """
    classes = len(counts)
    validated = folds >= 0
    truth = labels[validated]
    confusion = np.zeros((classes, classes), dtype=np.int64)
    images = tuple(counts.tolist())
    if not len(truth):
        nothing = (None,) * classes
        chosen = min(strengths, key=lambda strength: abs(np.log(strength / DEFAULT_STRENGTH)))
        return FitReport(images, 0, 0, None, None, confusion, nothing, None, chosen, ()), 1.0
    validated_logits = logits[:, validated]
    # Classes weigh alike.
    fits = [fit_temperature(logits, truth, weights=1.0 / counts[truth]) for logits in validated_logits]
    losses = [loss for _, loss in fits]
    tried = tuple(
        Strength(strength, loss, _mean_recall(logits.argmax(axis=1), truth))
        for strength, logits, loss in zip(strengths, validated_logits, losses, strict=True)
    )
    best = int(np.argmin(losses))
    answers = validated_logits[best].argmax(axis=1)
    np.add.at(confusion, (truth, answers), 1)
    seen = confusion.sum(axis=1)
    recall = tuple(float(confusion[index, index] / seen[index]) if seen[index] else None for index in range(classes))
    report = FitReport(
        images=images,
        validated=len(truth),
        folds=int(folds.max()) + 1,
        accuracy=float((answers == truth).mean()),
        balanced_accuracy=_mean_recall(answers, truth),
        confusion=confusion,
        recall=recall,
        log_loss=losses[best],
        strength=strengths[best],
        tried=tried,
    )
    return report, fits[best][0]


def _mean_recall(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([(answers[truth == index] == index).mean() for index in np.unique(truth)]))
