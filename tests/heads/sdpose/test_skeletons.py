"""The tables of points."""

from __future__ import annotations

import pytest

from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133, WHOLEBODY_PARTS, Skeleton


@pytest.mark.parametrize(("skeleton", "points", "links"), [(COCO_17, 17, 19), (COCO_WHOLEBODY_133, 133, 65)])
def test_the_tables_fit_each_other(skeleton: Skeleton, points: int, links: int) -> None:
    assert len(skeleton) == len(skeleton.sigmas) == len(skeleton.flip_indices) == points
    assert len(set(skeleton.names)) == points
    assert len(set(skeleton.links)) == links
    assert all(0 <= end < points for link in skeleton.links for end in link)
    # Mirrored twice is as before.
    assert [skeleton.flip_indices[index] for index in skeleton.flip_indices] == list(range(points))


def test_the_parts_are_where_their_names_say() -> None:
    names = COCO_WHOLEBODY_133.names
    first = {part: names[start] for part, (start, _) in WHOLEBODY_PARTS.items()}
    assert first == {
        "body": "nose",
        "foot": "left_big_toe",
        "face": "face-0",
        "lefthand": "left_hand_root",
        "righthand": "right_hand_root",
    }
    assert (names[92], names[111], names[132]) == ("left_thumb1", "left_pinky_finger4", "right_pinky_finger4")


def test_links_join_a_side_to_itself() -> None:
    for a, b in COCO_WHOLEBODY_133.links[19:]:
        sides = {COCO_WHOLEBODY_133.names[end].partition("_")[0] for end in (a, b)}
        assert len(sides) == 1
