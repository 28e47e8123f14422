"""Results in the format of Roboflow's inference server, which its SDK and supervision's `from_inference` read."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heads.outputs import class_masks, depth_picture, mask_answer, png_file
from heads.results import ClassMap, DepthMap, Keypoints, Masks
from service.run_task import Done

PERSON = "person"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which predictions to return, and the form of masks and depth.

    confidence: the lowest of a prediction; keypoint_confidence: of a point; None means no bound. classes: names to
    return, all if it is empty. most: how many predictions, all if it is None.
    """

    confidence: float | None = None
    keypoint_confidence: float | None = None
    classes: Sequence[str] = ()
    most: int | None = None
    masks: Literal["polygon", "rle"] = "polygon"
    depth: Literal["json", "png16", "png8"] = "json"

    def keep(self, predictions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The chosen predictions."""
        least = self.confidence or 0.0
        kept = [
            prediction
            for prediction in predictions
            if prediction["confidence"] >= least and (not self.classes or prediction["class"] in self.classes)
        ]
        return kept[: self.most]


def persons(done: Done, choice: Choice) -> dict[str, Any]:
    """Boxes of persons."""
    keypoints: Keypoints = done.result.keypoints
    return {"predictions": choice.keep([_person(keypoints, index) for index in range(len(keypoints.boxes))])}


def keypoints(done: Done, choice: Choice) -> dict[str, Any]:
    """Boxes of persons with their points, without points below the lowest confidence."""
    found_keypoints: Keypoints = done.result.keypoints
    return {
        "predictions": choice.keep(
            [
                {**_person(found_keypoints, index), "keypoints": _points(found_keypoints, index, choice)}
                for index in range(len(found_keypoints.boxes))
            ]
        )
    }


def _person(keypoints: Keypoints, index: int) -> dict[str, Any]:
    return _prediction(keypoints.boxes[index].tolist(), float(keypoints.box_scores[index]), PERSON, 0)


def _points(keypoints: Keypoints, index: int, choice: Choice) -> list[dict[str, Any]]:
    places = keypoints.points[index].round(3).tolist()
    scores = keypoints.scores[index].astype(float).round(6).tolist()
    least = choice.keypoint_confidence
    return [
        {"x": x, "y": y, "confidence": score, "class_id": place, "class": name}
        for place, ((x, y), score, name) in enumerate(zip(places, scores, keypoints.names, strict=True))
        if least is None or score >= least
    ]


def _prediction(box: Sequence[float], confidence: float, name: str, class_id: int) -> dict[str, Any]:
    """A prediction with the centre of its box, which is x, y, width and height."""
    x, y, width, height = box
    return {
        "x": x + width / 2,
        "y": y + height / 2,
        "width": width,
        "height": height,
        "confidence": confidence,
        "class": name,
        "class_id": class_id,
        "detection_id": str(uuid.uuid4()),
    }


def segments(done: Done, choice: Choice) -> dict[str, Any]:
    """A prediction for each class that the image has."""
    segmented: ClassMap = done.result
    return _masks(class_masks(segmented), segmented.classes, choice)


def list_named_masks(done: Done, choice: Choice) -> dict[str, Any]:
    """A prediction for each expression whose mask is not empty."""
    masks: Masks = done.result.masks
    return _masks(zip(masks.masks, masks.names, masks.scores, strict=True), masks.names, choice)


def _masks(
    masks: Iterable[tuple[NDArray[np.bool_], str, float]], classes: Sequence[str], choice: Choice
) -> dict[str, Any]:
    """Whole masks as RLE, or one prediction for each outline: a polygon cannot describe several parts or holes."""
    predictions = []
    for mask, name, score in masks:
        number = classes.index(name)
        if choice.masks == "polygon":
            predictions += [
                {**_prediction(box, score, name, number), "points": points, "mask_format": "polygon"}
                for box, points in _outlines(mask)
            ]
        elif mask.any():
            answer = mask_answer(mask, name, score)
            assert answer.rle is not None
            whole = _prediction(answer.bbox, score, name, number)
            predictions.append({**whole, "rle": answer.rle.model_dump(), "mask_format": "rle"})
    return {"predictions": choice.keep(predictions)}


def _outlines(mask: NDArray[np.bool_]) -> list[tuple[Sequence[float], list[dict[str, float]]]]:
    """The box and the outline of each part of a mask (H, W), through the centres of its outermost pixels.

    Filled with OpenCV, an outline gives its part again, with holes filled. Parts of one or two pixels repeat a point:
    supervision leaves out the masks of all predictions if one has fewer than three points.
    """
    outlines: list[tuple[Sequence[float], list[dict[str, float]]]] = []
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        corners = contour[:, 0].astype(float).tolist()
        corners += corners[-1:] * max(0, 3 - len(corners))
        outlines.append((list(cv2.boundingRect(contour)), [{"x": x, "y": y} for x, y in corners]))
    return outlines


def semantic(done: Done, choice: Choice) -> dict[str, Any]:
    """The class of every pixel and its probability, as pictures."""
    segmented: ClassMap = done.result
    many = len(segmented.classes) > 256
    numbers = segmented.class_map if many else segmented.class_map.astype(np.uint8)
    confidence = np.rint(segmented.probabilities.clip(0, 1) * 255).astype(np.uint8)
    return {
        "predictions": {
            "segmentation_mask": _picture(numbers),
            "class_map": {str(place): name for place, name in enumerate(segmented.classes)},
            "confidence_mask": _picture(confidence),
            "present_class_ids": np.unique(segmented.class_map).tolist(),
        }
    }


def classes(done: Done, choice: Choice) -> dict[str, Any]:
    """The classes of a fitted classifier, likeliest first."""
    names = list(done.work.head.classifier.model.classes)
    (answer,) = done.result
    predictions = [
        {"class": score.label, "class_id": names.index(score.label), "confidence": score.probability}
        for score in answer.scores
    ]
    top = {"top": answer.label, "confidence": answer.probability}
    return {"predictions": choice.keep(predictions), **top}


def depth(done: Done, choice: Choice) -> dict[str, Any]:
    """Depth in the protocol's scale: 1 at the image's nearest pixel, 0 at its farthest, linear in 1 over metres."""
    depth_map: DepthMap = done.result
    near = nearness(depth_map.metres)
    if choice.depth == "json":
        written: Any = near.astype(float).round(6).tolist()
    else:
        top = 65535 if choice.depth == "png16" else 255
        written = _picture(np.rint(near * top).astype(np.uint16 if choice.depth == "png16" else np.uint8))
    picture = base64.b64encode(depth_picture(depth_map)).decode()
    return {"normalized_depth": written, "depth_map_format": choice.depth, "image": picture}


def nearness(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 over metres (H, W), scaled so that the nearest pixel is 1 and the farthest 0; a flat map is 1 all over."""
    inverse = 1.0 / metres.astype(np.float64)
    low, high = float(inverse.min()), float(inverse.max())
    if high - low < 1e-12:
        return np.ones_like(metres)
    return ((inverse - low) / (high - low)).astype(np.float32)


def _picture(values: NDArray[Any]) -> str:
    return base64.b64encode(png_file(Image.fromarray(values))).decode()
