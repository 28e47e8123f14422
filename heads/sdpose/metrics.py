"""The evaluation behind SDPose's published figures: rescoring, OKS suppression, result files, COCO AP by pycocotools.

Source: SDPose's utils/EvalMetric.py; MMPose's evaluation/metrics/coco_metric.py and coco_wholebody_metric.py, and
evaluation/functional/nms.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.sdpose.persons import PERSON
from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133, WHOLEBODY_PARTS

SCORE_THRESHOLD = 0.2
OKS_THRESHOLD = 0.9
FIGURES = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")

_FIELDS = {"body": "keypoints"} | {part: f"{part}_kpts" for part in ("foot", "face", "lefthand", "righthand")}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The prediction for one person.

    points: (K, 2) float64, image pixels. scores: (K,) float. box_score: of its box. area: of the padded,
    aspect-fixed box, image pixels squared.
    """

    id: int
    image_id: int
    points: NDArray[np.float64]
    scores: NDArray[np.floating]
    box_score: float
    area: float


def person_score(scores: NDArray[np.floating], box_score: float, threshold: float = SCORE_THRESHOLD) -> float:
    """The box's score times the mean of the point scores (K,) above `threshold`; 0 if there is none."""
    good = scores[scores > threshold]
    return float(box_score * good.mean()) if len(good) else 0.0


def object_keypoint_similarity(
    points: NDArray[np.float64], others: NDArray[np.float64], area: float, areas: NDArray[np.float64],
    sigmas: NDArray[np.float64],
) -> NDArray[np.float32]:  # fmt: skip
    """OKS of one prediction with others, over all points whatever their scores.

    points: (K, 2), others: (N, K, 2), image pixels. area, areas (N,): pixels squared. sigmas: (K,).
    Returns (N,) float32.
    """
    squared = ((others - points) ** 2).sum(axis=2)
    mean_area = ((area + areas) / 2 + np.spacing(1))[:, None]
    similarity: NDArray[np.float32] = np.exp(-squared / (2 * sigmas) ** 2 / mean_area / 2).mean(axis=1)
    return similarity.astype(np.float32)


def suppress(
    predictions: Sequence[Prediction],
    person_scores: Sequence[float],
    sigmas: NDArray[np.float64],
    threshold: float = OKS_THRESHOLD,
) -> list[int]:
    """The predictions of one image that stay, best first: each suppresses later ones that are too similar to it.

    sigmas: (K,), as in `object_keypoint_similarity`.
    """
    order = np.argsort(np.array(person_scores))[::-1]
    points = np.stack([prediction.points for prediction in predictions])
    areas = np.array([prediction.area for prediction in predictions])
    kept = []
    while len(order):
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        similar = object_keypoint_similarity(points[best], points[rest], float(areas[best]), areas[rest], sigmas)
        order = rest[similar <= threshold]
    return kept


def result_rows(predictions: Sequence[Prediction], sigmas: NDArray[np.float64]) -> list[dict[str, Any]]:
    """The COCO result file of predictions: rescored, suppressed, images in the order of their first appearance.

    sigmas: (K,), of 17 points, of the 133, which get the five lists of COCO-WholeBody, or of any others.
    Of predictions with the same id in one image the first counts.
    """
    by_image: dict[int, dict[int, Prediction]] = {}
    for prediction in predictions:
        by_image.setdefault(prediction.image_id, {}).setdefault(prediction.id, prediction)
    rows = []
    for image_id, of_image in by_image.items():
        persons = [of_image[key] for key in sorted(of_image)]
        scores = [person_score(person.scores, person.box_score) for person in persons]
        for index in suppress(persons, scores, sigmas):
            row: dict[str, Any] = {"image_id": image_id, "category_id": PERSON, "score": scores[index]}
            rows.append(row | flat_points(persons[index].points, persons[index].scores))
    return rows


def flat_points(points: NDArray[np.float64], third: NDArray[np.floating]) -> dict[str, list[float]]:
    """COCO's lists of x, y and `third` (score or visibility): one list, or the five of COCO-WholeBody for 133 points.

    points: (K, 2). third: (K,).
    """
    triplets = np.concatenate([points, third[:, None].astype(np.float64)], axis=1)
    if len(points) != len(COCO_WHOLEBODY_133):
        return {"keypoints": triplets.flatten().tolist()}
    parts = {_FIELDS[part]: triplets[start:end] for part, (start, end) in WHOLEBODY_PARTS.items()}
    return {field: part.flatten().tolist() for field, part in parts.items()}


def coco_figures(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """The ten COCO figures of body keypoints; -1 if there was nothing to find.

    ground_truth: content of an annotation file. results: of a result file. sigmas: (K,); None for those of the 17.
    """
    return _evaluate(ground_truth, results, COCO_17.sigma_array() if sigmas is None else sigmas)


def wholebody_figures(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """The ten figures for body, foot, face, lefthand, righthand and wholebody, by COCO-WholeBody's rules.

    The person's area is the scale of every part. A person counts where the part has a labelled point and is no crowd;
    a detection, where a score of the part is above 0, with the bounds of its 17 body points as its own area.
    """
    figures = {}
    for part, (start, end) in {**WHOLEBODY_PARTS, "wholebody": (0, len(COCO_WHOLEBODY_133))}.items():
        annotations = []
        for annotation in ground_truth["annotations"]:
            points = _all_points(annotation)[start:end]
            labelled = int((points[:, 2] > 0).sum())
            fields = {"keypoints": points.flatten().tolist(), "num_keypoints": labelled}
            annotations.append({**annotation, **fields, "ignore": int(bool(annotation.get("iscrowd")) or not labelled)})
        detections = []
        for row in results:
            points = _all_points(row)
            body, part_points = points[:17], points[start:end]
            if (part_points[:, 2] > 0).any():
                low, high = body[:, :2].min(axis=0), body[:, :2].max(axis=0)
                fields = {"keypoints": part_points.flatten().tolist(), "own_area": float((high - low).prod())}
                detections.append({"image_id": row["image_id"], "category_id": PERSON, "score": row["score"]} | fields)
        sigmas = COCO_WHOLEBODY_133.sigma_array()[start:end]
        figures[part] = _evaluate({**ground_truth, "annotations": annotations}, detections, sigmas)
    return figures


def _all_points(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """(133, 3) of a row with COCO-WholeBody's five lists."""
    flat = [value for part in WHOLEBODY_PARTS for value in row[_FIELDS[part]]]
    return np.array(flat, dtype=np.float64).reshape(-1, 3)


def _evaluate(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: NDArray[np.float64]
) -> dict[str, float]:
    """The ten figures by pycocotools, which would print its progress."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # xtcocotools, which the original uses, leaves out what has no score above 0.
    counted = [dict(row) for row in results if max(row["keypoints"][2::3], default=0) > 0]
    if not counted:
        empty = any(
            not annotation.get("iscrowd") and annotation.get("num_keypoints", 0)
            for annotation in ground_truth["annotations"]
        )
        return dict.fromkeys(FIGURES, 0.0 if empty else -1.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            **ground_truth,
            "annotations": [dict(annotation) for annotation in ground_truth["annotations"]],
        }
        truth.createIndex()
        loaded = truth.loadRes(counted)
        for annotation in loaded.dataset["annotations"]:
            annotation["area"] = annotation.get("own_area", annotation["area"])
        evaluation = COCOeval(truth, loaded, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, (float(value) for value in evaluation.stats), strict=True))
