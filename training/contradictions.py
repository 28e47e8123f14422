"""Sentences that are false for an image but nearly true: one word of a true sentence is exchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from training.datasets.digits import DIGIT_NAMES
from training.world.vocabulary import COLOURS, TRAINING_CLASSES

_OPPOSITES = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}
_FAMILIES: tuple[tuple[str, ...], ...] = (TRAINING_CLASSES, tuple(COLOURS), DIGIT_NAMES, tuple("0123456789"))

_NOUN_WEIGHT = 2


def contradiction(
    sentence: str, true: Sequence[str], draw: np.random.Generator, relation_weight: int = 3
) -> str | None:
    """`sentence` with a noun, colour, digit or relation exchanged so that it is false, or None if none can be
    exchanged.

    true: all true sentences of the image; a word that they mention is not used as the replacement. relation_weight: how
    much more often a relation is exchanged than a colour; a noun is exchanged twice as often as a colour.
    """
    choices: list[tuple[str, tuple[str, ...]]] = [
        (words, (other,)) for words, other in _OPPOSITES.items() if words in sentence for _ in range(relation_weight)
    ]
    words = sentence.split()
    true_words = set(" ".join(true).replace(",", "").split())
    for family in _FAMILIES:
        others = tuple(word for word in family if word not in true_words)
        for word in (word.strip(",") for word in words):
            if word in family and others:
                choices += [(word, others)] * (_NOUN_WEIGHT if family is TRAINING_CLASSES else 1)
    if not choices:
        return None
    old, others = choices[int(draw.integers(len(choices)))]
    changed = re.sub(rf"\b{old}\b", others[int(draw.integers(len(others)))], sentence, count=1)
    changed = re.sub(r"\ba (?=[aeio])", "an ", re.sub(r"\ban (?=[^aeio])", "a ", changed))
    return None if changed in true else changed
