"""Persons as an answer: scores, coordinates, and boxes without keypoints."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heads.inputs import DecodedImage, Inputs
from heads.results import Keypoints
from heads.sdpose.poses import PoseOptions, Poses, answer_persons, write_coco
from heads.sdpose.skeletons import COCO_17


def two_persons() -> Poses:
    """A person in a valid box, and one in a box without size."""
    points = np.full((2, 17, 2), np.nan)
    points[0] = np.linspace((2.0, 3.0), (18.0, 9.0), 17)
    scores = np.zeros((2, 17), dtype=np.float32)
    scores[0] = 0.5
    boxes = np.array([[1.0, 2.0, 18.0, 8.0], [0.0, 0.0, 0.0, 5.0]])
    keypoints = Keypoints(points, scores, boxes, np.array([0.8, 1.0]), "caller", COCO_17.names, COCO_17.links)
    return Poses(keypoints, ("", "no width"), (20, 10))


def test_a_person_has_its_points_and_a_bad_box_its_problem() -> None:
    good, bad = answer_persons(two_persons())
    assert good.bbox == [1.0, 2.0, 18.0, 8.0]
    assert good.score == pytest.approx(0.8 * 0.5)
    assert (good.keypoints[0], good.keypoints[-1]) == ([2.0, 3.0], [18.0, 9.0])
    assert (bad.keypoints, bad.keypoint_scores, bad.problem) == ([], [], "no width")


def test_normalised_points_are_shares_of_the_image() -> None:
    first = answer_persons(two_persons(), normalised=True)[0]
    assert (first.keypoints[0], first.keypoints[-1]) == ([0.1, 0.3], [0.9, 0.9])


def test_points_below_the_threshold_are_not_visible_in_coco() -> None:
    inputs = Inputs([DecodedImage(np.zeros((10, 20, 3), np.uint8))])
    for threshold, visible in ((0.4, 17), (0.6, 0)):
        options = PoseOptions(keypoint_threshold=threshold)
        document = json.loads(write_coco(two_persons(), inputs, options))
        assert document["annotations"][0]["num_keypoints"] == visible
        assert (document["images"][0]["width"], document["images"][0]["height"]) == (20, 10)
