"""Boxes by two clicks."""

from __future__ import annotations

from playground.panels.boxes import add_corner, picture_with, read_boxes
from playground.state import SAMPLES


def test_two_corners_make_a_box_whichever_comes_first() -> None:
    text, corner = add_corner("", None, (40, 90))
    assert (text, corner) == ("", (40, 90))
    text, corner = add_corner(text, corner, (10, 30))
    assert (text, corner) == ("10, 30, 30, 60", None)
    text, corner = add_corner(text, None, (1, 2))
    text, corner = add_corner(text, corner, (3, 5))
    assert read_boxes(text) == [[10, 30, 30, 60], [1, 2, 2, 3]]


def test_lines_that_are_no_boxes_are_not_drawn() -> None:
    assert read_boxes("1 2 3 4\nleft\n1, 2, 3") == [[1, 2, 3, 4]]


def test_the_picture_is_enlarged() -> None:
    picture = picture_with(str(SAMPLES / "two-persons.png"), "1 2 3 4", (5, 5))
    assert picture is not None
    assert picture.size == (512, 512)
    assert picture_with(None, "", None) is None
    assert picture_with(__file__, "", None) is None
