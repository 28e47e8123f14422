"""True sentences about a scene, and expressions that fit exactly one of its things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing in the picture. u: its middle, as a share of the width. distance: metres to the camera."""

    kind: str
    colour: str
    size: str
    material: str
    u: float
    distance: float

    @property
    def coloured(self) -> str:
        """The noun with its colour: "red cube", or "person in red"."""
        return f"person in {self.colour}" if self.kind == "person" else f"{self.colour} {self.kind}"

    @property
    def described(self) -> str:
        """The noun with all known attributes."""
        if self.kind == "person":
            return f"{self.size} person in {self.colour}"
        return f"{self.size} {self.material} {self.colour} {self.kind}"


def captions(things: Sequence[Seen], floor: str) -> list[str]:
    """True sentences about the scene, at least one; the first names all things in view.

    Two things are "left of" and "right of" each other if their middles are a fifth of the picture's width apart, and
    "in front of" and "behind" if their distances differ by a third of a metre.
    """
    if not things:
        return [f"an empty room with a {floor} floor"]
    sentences = [_list_nouns([thing.coloured for thing in things])]
    if len(things) == 1:
        (thing,) = things
        sentences += [_a(thing.kind), f"a photo of {_a(thing.kind)}", _a(thing.described)]
        sentences += [f"{_a(thing.kind)} on a {floor} floor", f"{_a(thing.coloured)} on a {floor} floor"]
        return sentences
    sentences.append(_list_nouns([thing.kind for thing in things]))
    for thing, other in permutations(things, 2):
        for words in _relations(thing, other):
            sentences += [
                f"{_a(thing.coloured)} {words} {_a(other.coloured)}",
                f"{_a(thing.kind)} {words} {_a(other.kind)}",
            ]
    return sentences


def _relations(thing: Seen, other: Seen) -> list[str]:
    words = []
    if other.u - thing.u > 0.2:
        words.append("left of")
    if thing.u - other.u > 0.2:
        words.append("right of")
    if other.distance - thing.distance > 1 / 3:
        words.append("in front of")
    if thing.distance - other.distance > 1 / 3:
        words.append("behind")
    return words


def referring_expressions(things: Sequence[Seen]) -> list[list[str]]:
    """For each thing, the expressions that fit it and no other thing of the scene."""
    expressions = []
    for thing in things:
        others = [other for other in things if other is not thing]
        own = []
        if all(other.kind != thing.kind for other in others):
            own.append(f"the {thing.kind}")
        if all(other.coloured != thing.coloured for other in others):
            own.append(f"the {thing.coloured}")
        own += _describe_place(thing, others)
        expressions.append(own)
    return expressions


def _describe_place(thing: Seen, others: Sequence[Seen]) -> list[str]:
    """Expressions by position: among things of the same kind, and relative to things whose kind occurs once."""
    expressions = []
    alike = [other for other in others if other.kind == thing.kind]
    for among, noun in ((alike, thing.kind), (others, "thing")):
        if among and all(other.u - thing.u > 0.2 for other in among):
            expressions.append(f"the {noun} on the left")
        if among and all(thing.u - other.u > 0.2 for other in among):
            expressions.append(f"the {noun} on the right")
    if not alike:
        for other in others:
            if sum(third.kind == other.kind for third in others) == 1:
                expressions += [f"the {thing.kind} {words} the {other.kind}" for words in _relations(thing, other)]
    return expressions


def _list_nouns(nouns: Sequence[str]) -> str:
    articled = [_a(noun) for noun in nouns]
    return articled[0] if len(articled) == 1 else f"{', '.join(articled[:-1])} and {articled[-1]}"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
