"""Captions are true, and each expression fits one thing alone."""

from __future__ import annotations

from training.world.captions import Seen, captions, referring_expressions


def thing(kind: str, colour: str, u: float, distance: float = 3.0) -> Seen:
    return Seen(kind, colour, "large", "matte", u, distance)


def test_one_thing_is_named_coloured_described_and_placed() -> None:
    texts = captions([thing("arch", "orange", 0.5)], "wooden")
    assert texts[:2] == ["an orange arch", "an arch"]
    assert "a photo of an arch" in texts
    assert "a large matte orange arch" in texts
    assert "an orange arch on a wooden floor" in texts


def test_relations_are_written_only_if_they_are_plain() -> None:
    left, right = thing("cube", "red", 0.25, 2.5), thing("ball", "blue", 0.75, 3.0)
    texts = captions([left, right], "grey")
    assert texts[0] == "a red cube and a blue ball"
    assert {"a cube left of a ball", "a blue ball right of a red cube", "a cube in front of a ball"} <= set(texts)
    assert not any("cube right of" in sentence or "ball left of" in sentence for sentence in texts)
    near = captions([thing("cube", "red", 0.45), thing("ball", "blue", 0.55)], "grey")
    assert not any(word in sentence for sentence in near for word in (" of ", "behind"))


def test_nothing_in_view_is_an_empty_room() -> None:
    assert captions([], "tiled") == ["an empty room with a tiled floor"]


def test_an_expression_fits_its_thing_alone() -> None:
    things = [thing("cube", "red", 0.2), thing("cube", "red", 0.8), thing("person", "green", 0.5)]
    first, second, third = referring_expressions(things)
    assert "the cube on the left" in first
    assert "the cube on the right" in second
    assert {"the person", "the person in green"} <= set(third)
    assert "the red cube" not in first + second
    assert not set(first) & set(second) | set(first) & set(third)


def test_two_indistinguishable_things_get_no_expression() -> None:
    assert referring_expressions([thing("ball", "red", 0.5), thing("ball", "red", 0.55)]) == [[], []]
