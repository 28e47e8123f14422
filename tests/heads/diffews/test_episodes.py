"""Episodes of cases that the fixtures do not have."""

from __future__ import annotations

import numpy as np
import pytest

from backbones.errors import InvalidInput
from heads.diffews.episodes import draw_episodes, list_episodes


def test_a_query_never_supports_itself() -> None:
    names = {0: ["a", "b"], 3: ["c", "d", "e"]}
    for episode in draw_episodes(names, [0, 3], 5, 200, np.random.RandomState(0)):
        assert episode.query not in episode.supports
        assert len(episode.supports) == 5
        assert {episode.query, *episode.supports} <= set(names[episode.class_id])


def test_lvis_takes_the_classes_in_turn() -> None:
    names = {0: ["a", "b"], 1: ["c", "d"], 2: ["e", "f"]}
    episodes = draw_episodes(names, [0, 1, 2], 1, 7, np.random.RandomState(0), in_turn=True)
    assert [episode.class_id for episode in episodes] == [0, 1, 2, 0, 1, 2, 0]


def test_a_short_list_is_gone_through_again() -> None:
    episodes = list_episodes([("a", 1), ("b", 1)], 1, 5, np.random.RandomState(0))
    assert [episode.query for episode in episodes] == ["a", "b", "a", "b", "a"]


def test_a_class_of_one_image_has_no_episode() -> None:
    with pytest.raises(InvalidInput, match="class 1 has 1 images"):
        list_episodes([("a", 1), ("a", 1)], 1, 5, np.random.RandomState(0))
