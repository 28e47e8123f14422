"""Which query and supports each episode of a benchmark has, drawn as the published protocol draws them.

`random` is `numpy.random.RandomState(0)`, one for a whole run: the protocol seeds once, and nothing else draws between.
Source: `evaluation_util/data/{pascal,coco,lvis}.py`, after HSNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of a benchmark: names of images, and the class to segment. A support may occur twice."""

    query: str
    supports: tuple[str, ...]
    class_id: int


def list_episodes(
    pairs: Sequence[tuple[str, int]], shots: int, count: int, random: np.random.RandomState
) -> list[Episode]:
    """PASCAL-5i: the split's (name, class) pairs are the queries, in order, repeated if more are needed.

    Raises InvalidInput if a class has no second image to draw a support from.
    """
    names: dict[int, list[str]] = {}
    for name, class_id in pairs:
        names.setdefault(class_id, []).append(name)
    _check(names)
    episodes = []
    for index in range(count):
        query, class_id = pairs[index % len(pairs)]
        episodes.append(Episode(query, _supports(names[class_id], query, shots, random), class_id))
    return episodes


def draw_episodes(
    names: Mapping[int, Sequence[str]],
    class_ids: Sequence[int],
    shots: int,
    count: int,
    random: np.random.RandomState,
    *,
    in_turn: bool = False,
) -> list[Episode]:
    """COCO-20i: class, query and supports are drawn. LVIS-92i: the classes come `in_turn`, the rest is drawn.

    names: images by class. Raises InvalidInput if a class has no second image to draw a support from.
    """
    _check({class_id: names.get(class_id, ()) for class_id in class_ids})
    episodes = []
    for index in range(count):
        chosen = class_ids[index % len(class_ids)] if in_turn else int(random.choice(class_ids, 1, replace=False)[0])
        query = _draw_one(names[chosen], random)
        episodes.append(Episode(query, _supports(names[chosen], query, shots, random), chosen))
    return episodes


def _supports(names: Sequence[str], query: str, shots: int, random: np.random.RandomState) -> tuple[str, ...]:
    """Drawn one at a time from all, the query included: a draw of the query is rejected, a repeated support is kept."""
    supports: list[str] = []
    while len(supports) < shots:
        drawn = _draw_one(names, random)
        if drawn != query:
            supports.append(drawn)
    return tuple(supports)


def _draw_one(names: Sequence[str], random: np.random.RandomState) -> str:
    # A list and a size, as in the original: `choice` without a size uses other numbers of the generator.
    return str(random.choice(list(names), 1, replace=False)[0])


def _check(names: Mapping[int, Sequence[str]]) -> None:
    for class_id, images in names.items():
        if len(set(images)) < 2:
            raise InvalidInput(
                "split", f"class {class_id} has {len(set(images))} images", hint="an episode needs two different ones"
            )
