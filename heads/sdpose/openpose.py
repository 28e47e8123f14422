"""OpenPose's points, JSON and coloured skeletons, the picture that ControlNet takes; in the style of DWPose.

Source: SDPose's gradio_app/SDPose_gradio.py. The original's JSON swaps the hands and is one point off; here left and
right are the person's own.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heads.results import Keypoints
from heads.sdpose.skeletons import HAND_LINKS

THRESHOLD = 0.3

_NECK = 17
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
# Of the 17 with the neck appended.
_FROM_BODY = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_FEET, _FACE, _LEFT_HAND, _RIGHT_HAND, _END = 18, 24, 92, 113, 134
# COCO-WholeBody lacks the two pupils of OpenPose's 70 face points: the body's eyes replace them.
_RIGHT_EYE, _LEFT_EYE = 14, 15
_WHITE, _BLUE = (255, 255, 255), (0, 0, 255)


def openpose_points(
    points: NDArray[np.float64], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """OpenPose's 18 points of COCO's 17, or its 134 of the 133: body 0-17, feet, face, left hand, right hand.

    points: (K, 2), scores: (K,) float32, K 17 or 133. The neck is the middle of the shoulders with the lower of their
    scores; of the 133 it scores 0 unless both are above 0.3, whatever is drawn.
    """
    middle = (points[5] + points[6]) / 2
    lower = min(scores[5], scores[6])
    whole = len(points) == _END - 1
    neck_score = np.float32(lower if not whole or (scores[5] > THRESHOLD and scores[6] > THRESHOLD) else 0.0)
    with_neck = np.insert(points, _NECK, middle, axis=0)
    with_score = np.insert(scores, _NECK, neck_score)
    order = [*_FROM_BODY, *range(_FEET, len(with_neck))]
    return with_neck[order], with_score[order]


def skeleton_picture(
    keypoints: Keypoints, height: int, width: int, *, threshold: float = THRESHOLD
) -> NDArray[np.uint8]:
    """All persons' skeletons on black, (height, width, 3) uint8 RGB. keypoints: of 17 or 133 points."""
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    for points, scores in zip(keypoints.points, keypoints.scores, strict=True):
        draw_person(canvas, *openpose_points(points, scores), threshold)
    return canvas


def overlay(image: NDArray[np.uint8], canvas: NDArray[np.uint8], alpha: float = 0.6) -> NDArray[np.uint8]:
    """The skeletons over the image, which they darken everywhere, as the demo does. image, canvas: (H, W, 3) uint8."""
    return np.asarray(cv2.addWeighted(image, 1 - alpha, canvas, alpha, 0), dtype=np.uint8)


def draw_person(
    canvas: NDArray[np.uint8], points: NDArray[np.float64], scores: NDArray[np.float32], threshold: float = THRESHOLD
) -> None:
    """Draw one person's 18 or 134 points, (K, 2) with scores (K,), on a canvas (H, W, 3) uint8 RGB."""
    height, width = canvas.shape[:2]
    whole = len(points) == _END
    mean_side = (height + width) / 2
    stick, radius = (4, 4) if whole else (max(1, int(mean_side / 256)), max(2, int(mean_side / 192)))
    # Points so far outside would overflow OpenCV's integers; nothing of them is visible anyway.
    shown = (scores >= threshold) & np.isfinite(points).all(axis=1) & (np.abs(points) < 1e6).all(axis=1)
    for (start, end), colour in zip(_LIMBS, COLOURS, strict=False):
        if shown[start] and shown[end]:
            _limb(canvas, points[start], points[end], stick, colour)
    for index in range(_FEET if not whole else _FACE):
        if shown[index]:
            _dot(canvas, points[index], radius, COLOURS[index % len(COLOURS)])
    if whole:
        for start in (_LEFT_HAND, _RIGHT_HAND):
            _hand(canvas, points[start : start + 21], shown[start : start + 21])
        for index in range(_FACE, _LEFT_HAND):
            if shown[index] and _positive(points[index]):
                _dot(canvas, points[index], 3, _WHITE)


def _limb(
    canvas: NDArray[np.uint8], a: NDArray[np.float64], b: NDArray[np.float64], stick: int, colour: Sequence[int]
) -> None:
    (xa, ya), (xb, yb) = a, b
    length = math.hypot(xa - xb, ya - yb)
    if length < 1:
        return
    centre = int((xa + xb) / 2), int((ya + yb) / 2)
    angle = int(math.degrees(math.atan2(ya - yb, xa - xb)))
    polygon = cv2.ellipse2Poly(centre, (int(length / 2), stick), angle, 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.array(polygon), tuple(colour))


def _dot(canvas: NDArray[np.uint8], point: NDArray[np.float64], radius: int, colour: Sequence[int]) -> None:
    x, y = int(point[0]), int(point[1])
    if _inside(canvas, x, y):
        cv2.circle(canvas, (x, y), radius, tuple(colour), thickness=-1)


def _hand(canvas: NDArray[np.uint8], points: NDArray[np.float64], shown: NDArray[np.bool_]) -> None:
    """Rainbow edges, then blue points; only points with positive coordinates, because missing points are 0."""
    drawn = [
        bool(ok) and _positive(point) and _inside(canvas, *map(int, point))
        for ok, point in zip(shown, points, strict=True)
    ]
    for index, (start, end) in enumerate(HAND_LINKS):
        if drawn[start] and drawn[end]:
            colour = tuple(255 * part for part in colorsys.hsv_to_rgb(index / len(HAND_LINKS), 1.0, 1.0))
            a, b = (tuple(int(value) for value in points[end_point]) for end_point in (start, end))
            cv2.line(canvas, a, b, colour, thickness=2)
    for point, ok in zip(points, drawn, strict=True):
        if ok:
            _dot(canvas, point, 4, _BLUE)


def _positive(point: NDArray[np.float64]) -> bool:
    return bool((point.astype(int) > 0.01).all())


def _inside(canvas: NDArray[np.uint8], x: int, y: int) -> bool:
    return bool(0 <= x < canvas.shape[1] and 0 <= y < canvas.shape[0])


def openpose_json(keypoints: Keypoints, height: int, width: int) -> dict[str, Any]:
    """OpenPose's JSON of one image: flat x, y, score lists in pixels; parts that the network does not have are empty.

    keypoints: with 17 or 133 points. The body has the 18 points with a neck, the face 70 (the eyes at the end), hands
    21, and feet 6.
    """
    people = []
    for points, scores in zip(keypoints.points, keypoints.scores, strict=True):
        if not np.isfinite(points).all():
            continue  # a box that was not processed
        mapped, mapped_scores = openpose_points(points, scores)
        whole = len(mapped) == _END
        triplets = np.concatenate([mapped, mapped_scores[:, None].astype(np.float64)], axis=1)
        eyes = triplets[[_RIGHT_EYE, _LEFT_EYE]]
        parts = {
            "pose": triplets[:_FEET],
            "face": np.concatenate([triplets[_FACE:_LEFT_HAND], eyes]) if whole else triplets[:0],
            "hand_left": triplets[_LEFT_HAND:_RIGHT_HAND],
            "hand_right": triplets[_RIGHT_HAND:_END],
            "foot": triplets[_FEET:_FACE],
        }
        people.append({f"{part}_keypoints_2d": rows.flatten().tolist() for part, rows in parts.items()})
    return {"people": people, "canvas_width": width, "canvas_height": height}


def editor_json(keypoints: Keypoints, height: int, width: int, threshold: float = THRESHOLD) -> dict[str, Any]:
    """The file that pose editors open: the 18 body points, with zeros for those below the threshold.

    keypoints: of 17 or 133 points.
    """
    people = []
    for points, scores in zip(keypoints.points, keypoints.scores, strict=True):
        mapped, mapped_scores = (array[:_FEET] for array in openpose_points(points, scores))
        triplets = np.concatenate([mapped, mapped_scores[:, None].astype(np.float64)], axis=1)
        triplets[mapped_scores < threshold] = 0.0
        people.append({"pose_keypoints_2d": triplets.flatten().tolist()})
    return {"width": width, "height": height, "people": people}
