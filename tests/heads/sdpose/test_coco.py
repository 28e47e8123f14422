"""COCO's annotation form."""

from __future__ import annotations

import numpy as np
import pytest

from heads.results import Keypoints
from heads.sdpose.coco import coco_annotations, coco_category
from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133, Skeleton


def two_persons(skeleton: Skeleton) -> Keypoints:
    points = np.arange(4 * len(skeleton), dtype=np.float64).reshape(2, -1, 2)
    scores = np.tile(np.linspace(0, 1, len(skeleton), dtype=np.float32), (2, 1))
    boxes = np.array([[1.0, 2.0, 30.0, 40.0], [0.0, 0.0, 5.0, 6.0]])
    return Keypoints(points, scores, boxes, np.array([0.5, 1.0]), "caller", skeleton.names, skeleton.links)


def test_visible_is_what_reaches_the_threshold() -> None:
    keypoints = two_persons(COCO_17)
    row = coco_annotations(keypoints, threshold=0.5, first_id=7, image_id=3)[0]
    triplets = np.array(row["keypoints"]).reshape(17, 3)
    assert triplets[:8].tolist() == [[0, 0, 0]] * 8  # the eighth scores 0.4375, the ninth exactly 0.5
    assert triplets[8:, 2].tolist() == [2] * 9
    np.testing.assert_array_equal(triplets[8:, :2], keypoints.points[0, 8:])
    assert (row["id"], row["image_id"], row["num_keypoints"], row["area"]) == (7, 3, 9, 1200)
    assert row["score"] == pytest.approx(0.5 * float(keypoints.scores[0][keypoints.scores[0] > 0.2].mean()))


def test_the_whole_body_goes_into_five_lists() -> None:
    row = coco_annotations(two_persons(COCO_WHOLEBODY_133))[1]
    lists = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
    assert [len(row[name]) // 3 for name in lists] == [17, 6, 68, 21, 21]


def test_a_person_without_keypoints_is_left_out() -> None:
    keypoints = two_persons(COCO_17)
    keypoints.points[0] = np.nan
    assert [row["id"] for row in coco_annotations(keypoints)] == [2]


def test_links_count_from_one() -> None:
    category = coco_category(two_persons(COCO_17))
    assert category["skeleton"][0] == [16, 14]
    assert category["keypoints"][15] == "left_ankle"
