"""False sentences are false, and differ from a true one by one word."""

from __future__ import annotations

import numpy as np
import pytest

from training.contradictions import contradiction
from training.datasets.world import WorldImages
from training.evaluate import load_held_out


@pytest.fixture(scope="module")
def scenes() -> WorldImages:
    return load_held_out().scenes


def test_a_contradiction_is_never_a_true_sentence(scenes: WorldImages) -> None:
    draw = np.random.default_rng(0)
    made = 0
    for index in range(0, len(scenes), 4):
        true = scenes.captions(index)
        for sentence in true:
            contradicted = contradiction(sentence, true, draw)
            if contradicted is not None:
                made += 1
                assert contradicted not in true
                assert contradicted != sentence
    assert made > 200


def test_relations_turn_round_and_articles_follow() -> None:
    draw = np.random.default_rng(0)
    contradictions = {contradiction("a cube left of a ball", ["a cube left of a ball"], draw) for _ in range(200)}
    assert "a cube right of a ball" in contradictions
    colours = {contradiction("a red cube", ["a red cube"], draw) for _ in range(400)}
    assert "an orange cube" in colours
    assert not any(sentence is not None and "a orange" in sentence for sentence in colours)


def test_digits_are_exchanged_for_digits() -> None:
    draw = np.random.default_rng(0)
    contradictions = {
        contradiction("a handwritten 7", ["a handwritten seven", "a handwritten 7"], draw) for _ in range(100)
    }
    assert "a handwritten 7" not in contradictions
    assert all(sentence is not None and sentence[-1] in "012345689" for sentence in contradictions)


def test_a_caption_without_a_claim_has_no_contradiction() -> None:
    assert contradiction("an empty room", ["an empty room"], np.random.default_rng(0)) is None
