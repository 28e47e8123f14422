"""Persons of a record as the typed result."""

from __future__ import annotations

from service.jobs.formats.people import keypoints_of
from tests.service.jobs.formats.finished_jobs import persons


def test_boxes_without_keypoints_are_left_out() -> None:
    keypoints = keypoints_of(persons("a/one.png"))
    assert keypoints.points.shape == (2, 17, 2)
    assert keypoints.scores.shape == (2, 17)
    assert keypoints.boxes[:, 0].tolist() == [3.0, 13.0]


def test_a_result_without_persons_keeps_its_keypoint_names() -> None:
    keypoints = keypoints_of(persons("b/two.png"))
    assert keypoints.points.shape == (0, 17, 2)
    assert len(keypoints.names) == 17
