"""OpenPose's points and pictures, at what the fixtures do not pin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from heads.results import Keypoints
from heads.sdpose import openpose
from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133


def person(
    scores: dict[int, float], points: Mapping[int, tuple[float, float]] | None = None, whole: bool = False
) -> Keypoints:
    skeleton = COCO_WHOLEBODY_133 if whole else COCO_17
    at = np.full((1, len(skeleton), 2), 50.0)
    values = np.zeros((1, len(skeleton)), dtype=np.float32)
    for index, score in scores.items():
        values[0, index] = score
    for index, point in (points or {}).items():
        at[0, index] = point
    box = np.array([[0.0, 0.0, 100.0, 100.0]])
    return Keypoints(at, values, box, np.ones(1), "caller", skeleton.names, skeleton.links)


def colours(canvas: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in canvas.reshape(-1, 3).tolist()} - {(0, 0, 0)}


@pytest.mark.parametrize(("left", "right", "neck"), [(0.9, 0.5, 0.5), (0.9, 0.2, 0.0), (0.9, 0.3, 0.0)])
def test_the_whole_bodys_neck_needs_both_shoulders(left: float, right: float, neck: float) -> None:
    keypoints = person({5: left, 6: right}, whole=True)
    _, scores = openpose.openpose_points(keypoints.points[0], keypoints.scores[0])
    assert scores[1] == pytest.approx(neck)


def test_the_bodys_neck_has_the_lower_score() -> None:
    keypoints = person({5: 0.9, 6: 0.2}, {5: (10, 20), 6: (30, 40)})
    points, scores = openpose.openpose_points(keypoints.points[0], keypoints.scores[0])
    assert scores[1] == pytest.approx(0.2)
    assert points[1].tolist() == [20, 30]


def test_a_point_exactly_at_the_threshold_is_drawn() -> None:
    score = float(np.float32(0.3))
    assert openpose.skeleton_picture(person({0: 0.5}), 100, 100, threshold=0.5).any()
    assert not openpose.skeleton_picture(person({0: score}), 100, 100, threshold=0.4).any()


def test_a_limb_under_a_pixel_is_left_out() -> None:
    scores = {7: 1.0, 9: 1.0}
    short, long = (openpose.skeleton_picture(person(scores, {7: (50, 50), 9: (x, 50)}), 100, 100) for x in (50.9, 80.0))
    # The short limb is two dots, the second over the first; the long one also has a line between them.
    assert colours(short) == {openpose.COLOURS[7]}
    assert len(colours(long)) == 3


def test_a_hand_at_the_origin_is_not_drawn_and_its_edges_are_a_rainbow() -> None:
    hand = {index: 1.0 for index in range(91, 112)}
    assert not openpose.skeleton_picture(person(hand, {index: (0.4, 0.9) for index in hand}, whole=True), 99, 99).any()
    spread = {index: (10 + 4 * (index - 91), 10 + (index - 91) % 5 * 15) for index in hand}
    drawn = colours(openpose.skeleton_picture(person(hand, spread, whole=True), 99, 99))
    assert (0, 0, 255) in drawn
    assert len(drawn) > 10


@pytest.mark.parametrize("far", [1e9, -1e9, float("nan"), float("inf"), 5000.0])
def test_points_far_outside_draw_nothing_and_break_nothing(far: float) -> None:
    keypoints = person({index: 1.0 for index in range(133)}, {index: (far, far) for index in range(133)}, whole=True)
    assert not openpose.skeleton_picture(keypoints, 60, 80).any()


def test_without_persons_the_picture_is_black_and_the_list_is_empty() -> None:
    nobody = Keypoints(
        np.zeros((0, 17, 2)), np.zeros((0, 17), np.float32), np.zeros((0, 4)), np.zeros(0), "detector",
        COCO_17.names, COCO_17.links,
    )  # fmt: skip
    assert not openpose.skeleton_picture(nobody, 60, 80).any()
    assert openpose.openpose_json(nobody, 60, 80) == {"people": [], "canvas_width": 80, "canvas_height": 60}


def test_the_overlay_darkens_the_image() -> None:
    image = np.full((20, 20, 3), 100, np.uint8)
    assert openpose.overlay(image, np.zeros_like(image), 0.6).max() == 40
