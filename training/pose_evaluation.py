"""The accuracy of a pose network on a local data set in COCO's keypoint layout: COCO AP and PCK."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.engine import DirectEngine, Engine, complete
from heads.sdpose import crops
from heads.sdpose.crops import Crop
from heads.sdpose.detectors import Boxes
from heads.sdpose.estimation import PoseModel, box_problem, estimate_poses
from heads.sdpose.metrics import Prediction, coco_figures, result_rows, wholebody_figures
from heads.sdpose.persons import PERSON, Person
from training.pose_data import PoseData

Find = Callable[[Engine, NDArray[np.uint8], float], Coroutine[Any, Any, Boxes]]
"""From an engine, an image (H, W, 3) uint8 RGB and a threshold to the boxes with at least that score."""

Figures = tuple[dict[str, dict[str, float]], list[dict[str, Any]]]


def predict_persons(
    engine: DirectEngine,
    model: PoseModel,
    data: PoseData,
    persons: Sequence[Person],
    *,
    crop: Crop = "affine",
    flip_test: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> list[Prediction]:
    """The network's prediction for each person, in their order. on_image: called after each image."""
    predictions = []
    for image_id, group in groupby(persons, key=lambda person: person.image_id):
        of_image = list(group)
        xyxy = np.stack([person.xyxy for person in of_image])
        boxes = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1).astype(np.float64)
        good = np.array([not box_problem(box) for box in boxes], dtype=bool)
        kept = [person for person, ok in zip(of_image, good.tolist(), strict=True) if ok]
        keypoints = complete(
            estimate_poses(engine, model, data.image(image_id), boxes[good], crop=crop, flip_test=flip_test)
        )
        _, padded = crops.centers_and_scales(xyxy[good])
        areas = crops.fix_aspect(padded, model.size).astype(np.float64).prod(axis=1)
        predictions += [
            Prediction(person.id, image_id, points, scores, person.score, float(area))
            for person, points, scores, area in zip(kept, keypoints.points, keypoints.scores, areas, strict=True)
        ]
        on_image()
    return predictions


def detect_persons(engine: DirectEngine, find: Find, data: PoseData, threshold: float) -> list[Person]:
    """The persons that `find` sees in every image of the data, numbered in order."""
    persons: list[Person] = []
    for image in data.content["images"]:
        boxes, scores = complete(find(engine, data.image(int(image["id"])), threshold))
        for corners, score in zip(crops.corners(boxes), scores, strict=True):
            persons.append(Person(len(persons), int(image["id"]), corners, float(score)))
    return persons


def evaluate_predictions(
    data: PoseData, predictions: Sequence[Prediction], image_ids: Sequence[int] | None = None
) -> Figures:
    """COCO's ten figures, for 133 points those of every part, over all images or `image_ids`; and the result rows."""
    sigmas = data.skeleton.sigma_array()
    rows = result_rows(predictions, sigmas) if predictions else []
    truth = {
        "images": data.content["images"],
        "annotations": [_for_coco(annotation) for annotation in data.content["annotations"]],
        "categories": [{"id": PERSON, "name": "person"}],
    }
    if image_ids is not None:
        chosen = set(image_ids)
        truth["images"] = [image for image in truth["images"] if image["id"] in chosen]
        truth["annotations"] = [annotation for annotation in truth["annotations"] if annotation["image_id"] in chosen]
    if len(data.skeleton) == 133:
        return wholebody_figures(truth, rows), rows
    return {"keypoints": coco_figures(truth, rows, sigmas)}, rows


def _for_coco(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation with the fields that COCO's evaluation needs and a data set may lack; its category is COCO's."""
    width, height = annotation["bbox"][2:]
    labelled = sum(value > 0 for value in annotation.get("keypoints", [])[2::3])
    defaults = {"area": float(width * height), "iscrowd": 0, "num_keypoints": labelled}
    return {**defaults, **annotation, "category_id": PERSON}


def measure_pck(data: PoseData, points: Mapping[int, NDArray[np.float64]], threshold: float = 0.1) -> dict[str, float]:
    """PCK: the share of labelled points that lie within `threshold` of the box's longer side, by name and in "all".

    points: annotation id -> (K, 2) image pixels.
    """
    hits, counts = np.zeros(len(data.skeleton)), np.zeros(len(data.skeleton))
    for person in data.persons:
        if person.id not in points:
            continue
        truth = data.points[person.id]
        side = float((person.xyxy[2:] - person.xyxy[:2]).max())
        near = np.linalg.norm(points[person.id] - truth[:, :2], axis=1) <= threshold * side
        labelled = truth[:, 2] > 0
        hits += near & labelled
        counts += labelled
    shares = {
        name: float(hit / count) for name, hit, count in zip(data.skeleton.names, hits, counts, strict=True) if count
    }
    return {"all": float(hits.sum() / max(counts.sum(), 1)), **shares}


def point_errors(
    predictions: Sequence[Prediction], reference: Sequence[Prediction], threshold: float = 0.3
) -> dict[str, float]:
    """The distances between points and those of a reference, in image pixels, for points that score above `threshold`
    in it.
    """
    references = {(prediction.image_id, prediction.id): prediction for prediction in reference}
    moved = [
        np.linalg.norm(prediction.points - references[prediction.image_id, prediction.id].points, axis=1)[
            references[prediction.image_id, prediction.id].scores > threshold
        ]
        for prediction in predictions
    ]
    distances = np.concatenate(moved) if moved else np.zeros(0)
    if not len(distances):
        return {"points": 0.0, "mean": 0.0, "95 %": 0.0, "largest": 0.0}
    return {
        "points": float(len(distances)),
        "mean": float(distances.mean()),
        "95 %": float(np.percentile(distances, 95)),
        "largest": float(distances.max()),
    }
