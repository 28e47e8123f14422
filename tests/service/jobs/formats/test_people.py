"""Persons of a record as the typed result."""

from __future__ import annotations

from service.jobs.formats.people import keypoints_of
from tests.service.jobs.formats.finished_jobs import persons


def test_boxes_that_could_not_be_looked_at_are_left_out() -> None:
    found = keypoints_of(persons("a/one.png"))
    assert found.points.shape == (2, 17, 2)
    assert found.scores.shape == (2, 17)
    assert found.boxes[:, 0].tolist() == [3.0, 13.0]


def test_nobody_is_an_empty_result_of_the_same_points() -> None:
    found = keypoints_of(persons("b/two.png"))
    assert found.points.shape == (0, 17, 2)
    assert len(found.names) == 17
