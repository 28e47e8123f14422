"""The published figures of the three tasks.

Source: `depth/utils_depth/metrics.py`, `refer/test.py` of wl-zhao/VPD; mmsegmentation's `IoUMetric`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EIGEN_ROWS, EIGEN_COLUMNS = slice(45, 471), slice(41, 601)
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
IGNORED = 255


def valid_depth(truth: Tensor, *, eigen: bool, low: float = 0.001, high: float = 10.0) -> Tensor:
    """Pixels that count, (H, W) bool: truth (H, W) in metres strictly inside (low, high), and inside the Eigen crop if
    `eigen` is set.

    The crop is that of 480 x 640 pictures.
    """
    valid = (truth > low) & (truth < high)
    if eigen:
        inside = torch.zeros_like(valid)
        inside[EIGEN_ROWS, EIGEN_COLUMNS] = True
        valid &= inside
    return valid


def depth_figures(predicted: Tensor, truth: Tensor, valid: Tensor) -> dict[str, float]:
    """The published figures of one image over its valid pixels, n_valid among them.

    predicted, truth: (H, W) float32 metres; infinite predictions count as 10 m, NaN as 1 mm. valid: (H, W) bool.
    """
    predicted = torch.nan_to_num(predicted.float(), nan=0.001, posinf=10.0, neginf=10.0)
    p, g = predicted[valid], truth.float()[valid]
    ratio = torch.maximum(p / g, g / p)
    error, logarithm = p - g, p.log() - g.log()
    figures = {
        "d1": (ratio < 1.25).float().mean(),
        "d2": (ratio < 1.25**2).float().mean(),
        "d3": (ratio < 1.25**3).float().mean(),
        "abs_rel": (error.abs() / g).mean(),
        "sq_rel": (error.square() / g).mean(),
        "rmse": error.square().mean().sqrt(),
        "rmse_log": logarithm.square().mean().sqrt(),
        "log10": (p.log10() - g.log10()).abs().mean(),
        "silog": (logarithm.square().mean() - 0.5 * logarithm.mean().square()).sqrt(),
    }
    return {**{name: float(value) for name, value in figures.items()}, "n_valid": int(valid.sum())}


def silog_loss(predicted: Tensor, truth: Tensor, *, weight: float = 0.5) -> Tensor:
    """The training loss over all pixels with truth: sqrt(mean(e^2) - weight mean(e)^2), e = ln g - ln p; a scalar.

    predicted, truth: any shape, the same for both, metres; truth 0 is no measurement.
    """
    valid = truth > 0
    error = truth[valid].log() - predicted[valid].log()
    return (error.square().mean() - weight * error.mean().square()).clamp_min(0).sqrt()


def mean_figures(images: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Means over images of their own figures; n_valid is summed. Images without a valid pixel are left out."""
    counted = [image for image in images if image["n_valid"]]
    if not counted:
        return {"n_valid": 0}
    names = [name for name in counted[0] if name != "n_valid"]
    means = {name: float(np.mean([figures[name] for figures in counted])) for name in names}
    return {**means, "n_valid": sum(int(figures["n_valid"]) for figures in counted)}


@dataclass(slots=True)
class IoUCounts:
    """Pixels summed over a data set, (K,) float64 each: of the intersection, union, prediction and truth."""

    intersection: Tensor
    union: Tensor
    predicted: Tensor
    truth: Tensor

    @classmethod
    def zeros(cls, classes: int) -> IoUCounts:
        """Nothing counted yet."""
        return cls(*(torch.zeros(classes, dtype=torch.float64) for _ in range(4)))

    def add(self, predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Count one image: class maps (H, W), where truth 255 is ignored. mmsegmentation counts."""
        metric = _iou_metric()
        areas = metric.intersect_and_union(
            torch.from_numpy(np.array(predicted, dtype=np.int64)),
            torch.from_numpy(np.array(truth, dtype=np.int64)),
            len(self.union),
            IGNORED,
        )
        for total, area in zip((self.intersection, self.union, self.predicted, self.truth), areas, strict=True):
            total += area

    def figures(self) -> dict[str, float]:
        """mIoU over the classes that occur, mean accuracy of those in the truth, and accuracy of all pixels; 0 to 1."""
        iou, accuracy = self.intersection / self.union, self.intersection / self.truth
        return {
            "miou": float(iou.nanmean()),
            "macc": float(accuracy.nanmean()),
            "aacc": float(self.intersection.sum() / self.truth.sum()),
        }

    def by_class(self) -> list[float]:
        """IoU of each class, NaN if it occurs nowhere."""
        return [float(value) for value in self.intersection / self.union]


def _iou_metric() -> Any:

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmseg.evaluation.metrics.iou_metric import IoUMetric
    return IoUMetric


def referring_figures(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """oIoU, mean IoU and the shares of samples above each threshold, from (intersection, union) pixels of each sample.

    An empty union has IoU 0.
    """
    intersections, unions = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    ious = np.divide(intersections, unions, out=np.zeros_like(unions), where=unions > 0)
    shares = {f"p@{threshold}": float((ious >= threshold).mean()) for threshold in THRESHOLDS}
    return {"oiou": float(intersections.sum() / max(unions.sum(), 1)), "miou": float(ious.mean()), **shares}
