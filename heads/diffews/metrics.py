"""mIoU and FB-IoU as few-shot segmentation reports them: areas summed over a class's episodes, then divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scores:
    """mean_iou, fb_iou: in percent. class_iou: of the object by class, as a fraction, in the order of the class ids."""

    mean_iou: float
    fb_iou: float
    class_iou: tuple[float, ...]


def areas(
    mask: NDArray[np.generic], truth: NDArray[np.generic], ignored: NDArray[np.generic] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union of background and object, (2,) int64 each, in pixels.

    mask, truth: (H, W), bool or 0 and 1. ignored: (H, W), not 0 if a pixel does not count.
    Source: `evaluation_util/common/evaluation.py`.
    """
    counted = np.ones(mask.shape, bool) if ignored is None else ignored == 0
    predicted, wanted = mask[counted] != 0, truth[counted] != 0
    intersection = np.array([(~predicted & ~wanted).sum(), (predicted & wanted).sum()])
    union = np.array([(~predicted | ~wanted).sum(), (predicted | wanted).sum()])
    return intersection, union


def scores(
    class_ids: Sequence[int],
    episode_classes: Sequence[int],
    intersections: Sequence[NDArray[np.int64]],
    unions: Sequence[NDArray[np.int64]],
) -> Scores:
    """The scores of a fold.

    class_ids: all of the fold; one without an episode counts 0. episode_classes: the class of each episode.
    intersections, unions: (2,) each, of `areas`, one an episode.
    Source: `evaluation_util/common/logger.py`.
    """
    intersection = np.zeros((len(class_ids), 2))
    union = np.zeros((len(class_ids), 2))
    places = {class_id: place for place, class_id in enumerate(class_ids)}
    for class_id, inner, outer in zip(episode_classes, intersections, unions, strict=True):
        intersection[places[class_id]] += inner
        union[places[class_id]] += outer
    class_iou = intersection[:, 1] / np.maximum(union[:, 1], 1)
    # The original does not guard this division: a fold without background or object gives it NaN, and us 0.
    both = intersection.sum(axis=0) / np.maximum(union.sum(axis=0), 1)
    return Scores(100 * float(class_iou.mean()), 100 * float(both.mean()), tuple(class_iou.tolist()))
