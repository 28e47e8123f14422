"""From labels to hypotheses: merged prompts, classes by name, and labels that are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backbones.backbone import Description
from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from heads.diffusion_classifier.hypotheses import class_number, make_hypotheses


def test_prompts_with_equal_tokens_are_one_hypothesis(engine: DirectEngine) -> None:
    hypotheses = make_hypotheses(engine, ["cat", "dog", "CAT"], ["a {}", "the {}"])
    assert hypotheses.prompts == ("a cat", "the cat", "a dog", "the dog")
    assert hypotheses.of_label == ((0, 1), (2, 3), (0, 1))
    assert hypotheses.answers == [0, 0, 1, 1]


def test_the_mean_makes_one_hypothesis_of_a_labels_prompts(engine: DirectEngine) -> None:
    hypotheses = make_hypotheses(engine, ["cat", "dog", "CAT"], ["a {}", "the {}"], "mean")
    assert hypotheses.members == ((0, 1), (2, 3))
    assert hypotheses.of_label == ((0,), (1,), (0,))


@pytest.mark.parametrize(
    ("labels", "templates", "field"),
    [
        ([], ["a {}"], "labels"),
        (["cat"], [], "templates"),
        (["cat"], ["a cat"], "templates"),
        (["cat", " "], ["a {}"], "labels"),
        (["cat"], ["a {}", "A {}"], "templates"),
        (["word " * 200], ["a {}"], "labels"),
    ],
)
def test_invalid_labels_and_templates_are_refused(
    engine: DirectEngine, labels: list[str], templates: list[str], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_hypotheses(engine, labels, templates)
    assert caught.value.field == field


@pytest.fixture
def classes(engine: DirectEngine) -> Description:
    """A network of four classes, of which two share a name and one has none."""
    names = ("tench, Tinca tinca", "crane", "crane, bird", "3")
    return replace(engine.backbone, num_class_labels=4, class_names=names)


@pytest.mark.parametrize(("label", "number"), [("Tench", 0), ("tinca tinca", 0), ("crane", 1), ("bird", 2), ("3", 3)])
def test_a_class_is_found_by_any_of_its_names(classes: Description, label: str, number: int) -> None:
    assert class_number(classes, label) == number


@pytest.mark.parametrize(("label", "hint"), [("tenhc", "tench"), ("4", "number"), ("-1", "number")])
def test_a_label_that_is_no_class_gets_a_hint(classes: Any, label: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        class_number(classes, label)
    assert hint in caught.value.hint
