"""Near-duplicates among vectors, by every pair and by the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backbones.errors import InvalidInput
from heads.feature_pooling.duplicates import groups, near_duplicates

GENERATOR = np.random.default_rng(5)
VECTORS = GENERATOR.normal(size=(300, 24)).astype(np.float32)
# 7 and 250 are near copies of 3, of another length; 100 equals 99.
VECTORS[7] = 3 * VECTORS[3] + 0.01 * GENERATOR.normal(size=24)
VECTORS[250] = VECTORS[3] + 0.01 * GENERATOR.normal(size=24)
VECTORS[100] = VECTORS[99]


@pytest.mark.parametrize("index", ["auto", "exact", "hnsw"])
def test_copies_are_found_and_nothing_else(index: Any) -> None:
    pairs = near_duplicates(VECTORS, 0.99, index=index)
    places = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert places == {(3, 7), (3, 250), (7, 250), (99, 100)}
    assert pairs.similarity[0] == pytest.approx(1.0, abs=1e-5)
    assert (np.diff(pairs.similarity) <= 0).all()
    assert groups(pairs, len(VECTORS)) == [[3, 7, 250], [99, 100]]


def test_every_pair_is_that_of_a_plain_product() -> None:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    alike = np.triu(unit @ unit.T, 1)
    # The rounding of float32 may fall below the bound.
    first, second = np.nonzero(alike >= 0.4 - 1e-5)
    pairs = near_duplicates(VECTORS, 0.4, index="exact")
    expected = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(expected) > 100
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected


def test_equal_vectors_are_alike_at_one() -> None:
    pairs = near_duplicates(np.full((3, 7), 0.3, np.float32), 1.0)
    assert groups(pairs, 3) == [[0, 1, 2]]
    assert pairs.similarity.max() <= 1


def test_one_vector_or_vectors_that_differ_give_no_group() -> None:
    assert groups(near_duplicates(VECTORS[:1]), 1) == []
    assert groups(near_duplicates(np.eye(4, dtype=np.float32)), 4) == []


def test_chains_are_one_group() -> None:
    angles = np.radians([0, 5, 10, 90])
    pairs = near_duplicates(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), 0.995)
    assert groups(pairs, 4) == [[0, 1, 2]]
    assert (0, 2) not in set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.mark.parametrize(
    ("vectors", "similarity", "message"),
    [
        (np.zeros((0, 4)), 0.9, "values"),
        (np.ones(4), 0.9, "values"),
        (np.ones((2, 4)), 1.1, "cosine"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), 0.9, "the vector is 0"),
        (np.array([[1.0, np.nan]]), 0.9, "NaN"),
    ],
)
def test_invalid_vectors_are_refused(vectors: Any, similarity: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        near_duplicates(vectors.astype(np.float32), similarity)
