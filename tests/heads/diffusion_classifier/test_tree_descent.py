"""The descent of a tree of labels: its answer, its rows, and which trees are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import classify_anytime
from heads.diffusion_classifier.tree_descent import Label, classify_tree, error_share, parse_tree
from heads.results import LabelPath

IMAGE = np.random.default_rng(3).integers(0, 255, (40, 90, 3), dtype=np.uint8)
TREE = {"animal": ["cat", {"dog": {"hound": None, "terrier": []}}], "plant": ["tree", "rose"], "stone": {}}


def ways(here: Label) -> Iterator[tuple[Label, ...]]:
    """Every path from this node to a leaf."""
    if not here.children:
        yield (here,)
    for child in here.children:
        for way in ways(child):
            yield (here, *way)


def test_a_tree_is_read_however_it_is_written() -> None:
    root = parse_tree(TREE)
    texts = [" > ".join(label.text for label in way[1:]) for way in ways(root)]
    assert texts == [
        "animal > cat",
        "animal > dog > hound",
        "animal > dog > terrier",
        "plant > tree",
        "plant > rose",
        "stone",
    ]
    assert parse_tree([{"animal": None}, "plant"]) == parse_tree({"animal": {}, "plant": []})


def test_the_shares_of_the_error_add_up_on_every_path() -> None:
    root = parse_tree({"a": {"b": {"c": ["d", "e"], "f": {}}, "g": {"only": ["h", "i", {"j": ["k", "l"]}]}}, "m": {}})
    for way in ways(root):
        left, spent = 1.0, 0.0
        for here in way:
            if len(here.children) > 1:
                share = error_share(here, left)
                left, spent = left - share, spent + share
        assert spent <= 1 + 1e-12
        assert all(here.races >= 0 for here in way)
    deepest = max(ways(root), key=len)
    assert sum(len(here.children) > 1 for here in deepest) == root.races == 4


def test_every_fork_is_won_by_the_label_that_wins_it_alone(engine: DirectEngine) -> None:
    root = parse_tree({"animal": ["cat", "dog"], "plant": ["tree", "rose"]})
    result = complete(classify_tree(engine, IMAGE, root, confidence=1))
    assert (result.complete, result.stopped, result.confidence) == (True, "decided", 1.0)
    under: tuple[str, ...] = ()
    for level, labels in zip(
        result.levels,
        [["animal", "plant"], [child.text for child in way_to(root, result).children]],
        strict=True,
    ):
        alone = complete(classify_anytime(engine, IMAGE, labels, confidence=1))
        assert level.under == under
        assert level.posterior.label == alone.label
        np.testing.assert_allclose(level.posterior.mean_errors, alone.mean_errors, atol=1e-5)
        under = (*under, alone.label)
    assert result.path == under
    assert result.rows == 4 * 500


def way_to(root: Label, result: LabelPath) -> Label:
    """The node above the leaf of the path."""
    for text in result.path[:-1]:
        root = next(child for child in root.children if child.text == text)
    return root


def test_a_tree_of_one_level_is_the_race(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse", "tree"]
    seen: list[LabelPath] = []
    tree = complete(classify_tree(engine, IMAGE, parse_tree(labels), confidence=0.6, on_progress=seen.append))
    race = complete(classify_anytime(engine, IMAGE, labels, confidence=0.6))
    assert (tree.path, tree.rows, tree.confidence) == ((race.label,), race.rows, race.confidence)
    assert tree.levels[0].posterior.probabilities == race.probabilities
    assert tree.probability == max(race.probabilities)
    assert [path.rows for path in seen] == sorted(path.rows for path in seen)
    assert not seen[-1].complete
    assert seen[-1].path == tree.path


def test_the_whole_path_has_the_requested_confidence(engine: DirectEngine) -> None:
    result = complete(classify_tree(engine, IMAGE, parse_tree(TREE), confidence=0.6))
    assert result.complete
    assert 0.6 <= result.confidence <= 1
    assert result.rows == sum(level.posterior.rows for level in result.levels)
    assert [level.under for level in result.levels] == [result.path[:depth] for depth in range(len(result.levels))]


def test_a_label_without_siblings_costs_nothing(engine: DirectEngine) -> None:
    result = complete(classify_tree(engine, IMAGE, parse_tree({"animal": {"cat": ["a lion"]}})))
    assert (result.path, result.rows, result.levels) == (("animal", "cat", "a lion"), 0, ())
    assert (result.complete, result.confidence, result.probability, result.stopped) == (
        True,
        1.0,
        1.0,
        "decided",
    )


def test_a_budget_ends_the_descent(engine: DirectEngine) -> None:
    root = parse_tree({"animal": {"cat": {"lion": [], "tiger": []}, "dog": []}, "plant": {"tree": [], "rose": []}})
    first = complete(classify_tree(engine, IMAGE, root, confidence=1, budget=Budget(rows=50)))
    assert (first.complete, first.stopped, first.rows, len(first.path)) == (False, "budget", 48, 1)
    assert first.confidence < 1
    timed = classify_tree(engine, IMAGE, root, confidence=1, budget=Budget(seconds=1e-9))
    assert complete(timed).rows == 4
    with pytest.raises(InvalidInput, match="one block of 4"):
        complete(classify_tree(engine, IMAGE, root, budget=Budget(rows=3)))


def test_rows_that_a_race_left_over_are_spent_below(engine: DirectEngine) -> None:
    # Two labels with equal tokens are decided after one block.
    root = parse_tree({"cat": {}, "CAT": {}})
    result = complete(classify_tree(engine, IMAGE, root, budget=Budget(rows=2)))
    assert (result.path, result.complete, result.rows) == (("cat",), True, 2)
    assert result.levels[0].posterior.tied == ("CAT",)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "no labels"),
        ([], "no labels"),
        (None, "no labels"),
        ("cat", "'cat' below it"),
        (3, "'3' below it"),
        ({"animal": 3}, "animal has '3' below it"),
        ({"animal": True}, "animal has 'True' below it"),
        ({"animal": ["cat", 3]}, "animal has '3' in its list"),
        ({"animal": [["cat"]]}, "in its list"),
        ({"animal": {"cat": {" ": []}}}, "animal > cat has the empty label"),
        (["cat", "cat"], "the root has the label 'cat' twice"),
        ({"animal": ["cat", {"cat": ["lion"]}]}, "animal has the label 'cat' twice"),
        ({"animal": [f"cat {number}" for number in range(6)]}, "animal has 6 labels right below it"),
        ({str(number): [f"{number} {index}" for index in range(5)] for number in range(5)}, "more than 25 labels"),
    ],
)
def test_a_bad_tree_is_refused_with_its_place(tree: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        parse_tree(tree, most_labels=25, most_children=5)
    assert refused.value.field == "tree"
    assert refused.value.hint


def test_a_tree_without_an_end_is_refused() -> None:
    tree: dict[str, Any] = {"leaf": None}
    for number in range(500):
        tree = {f"level {number}": tree}
    with pytest.raises(InvalidInput, match="32 labels deep"):
        parse_tree(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"animal": {"cat": ["lion"], "CAT": []}, "plant": []}, "the same text for the network"),
        ({"animal": ["cat", "dog " * 100], "plant": []}, "animal has a label that can not be used: the prompt"),
    ],
)
def test_labels_that_the_network_cannot_use_are_reported_before_a_row_is_spent(
    engine: DirectEngine, tree: object, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        complete(classify_tree(engine, IMAGE, parse_tree(tree)))
    assert refused.value.field == "tree"
