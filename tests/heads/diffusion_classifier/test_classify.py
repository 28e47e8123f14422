"""Classification over the caller's own labels: what is decided, repeated, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.diffusion_classifier.classify import classify
from heads.diffusion_classifier.schedule import Schedule

IMAGE = np.random.default_rng(3).integers(0, 255, (40, 90, 3), dtype=np.uint8)
QUICK = Schedule((3, 6), (2, 1))


def test_the_same_request_gets_the_same_answer(engine: DirectEngine) -> None:
    one, two = (complete(classify(engine, IMAGE, ["cat", "dog", "horse"], schedule=QUICK)) for _ in range(2))
    assert one.label == two.label
    assert one.probabilities == two.probabilities
    assert one.mean_errors == two.mean_errors


def test_the_order_of_labels_does_not_matter(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse"]
    forward = complete(classify(engine, IMAGE, labels, schedule=QUICK))
    backward = complete(classify(engine, IMAGE, labels[::-1], schedule=QUICK))
    assert forward.label == backward.label
    np.testing.assert_allclose(forward.mean_errors, backward.mean_errors[::-1], atol=1e-5)


def test_the_answer_has_the_highest_probability(engine: DirectEngine) -> None:
    found = complete(classify(engine, IMAGE, ["cat", "dog", "horse", "tree"], schedule=QUICK))
    assert found.probabilities[found.labels.index(found.label)] == max(found.probabilities)
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.rounds_survived[found.labels.index(found.label)] == 2
    assert not found.calibrated


def test_a_higher_temperature_flattens(engine: DirectEngine) -> None:
    sharp, flat = (
        complete(classify(engine, IMAGE, ["cat", "dog"], schedule=Schedule((6,), (1,)), temperature=t))
        for t in (1, 1e9)
    )
    assert max(sharp.probabilities) > max(flat.probabilities)
    assert flat.probabilities == pytest.approx((0.5, 0.5))


def test_the_best_of_several_templates_speaks_for_a_label(engine: DirectEngine) -> None:
    templates = ("a photo of a {}.", "a sketch of the {}.")
    found = complete(classify(engine, IMAGE, ["cat", "dog"], templates=templates, schedule=Schedule((4,), (1,))))
    alone = [
        complete(classify(engine, IMAGE, ["cat", "dog"], templates=(one,), schedule=Schedule((4,), (1,))))
        for one in templates
    ]
    best = [min(errors) for errors in zip(*[one.mean_errors for one in alone], strict=True)]
    np.testing.assert_allclose(found.mean_errors, best, atol=1e-5)
    assert found.rows == 16


@pytest.mark.parametrize(
    ("changes", "field", "part"),
    [
        ({"labels": []}, "labels", "no labels"),
        ({"labels": ["cat", " "]}, "labels", "is empty"),
        ({"labels": ["cat", "cat"]}, "labels", "same text"),
        ({"labels": ["cat", "CAT"]}, "labels", "same text"),
        ({"labels": ["cat", "dog " * 100]}, "labels", "tokens"),
        ({"templates": []}, "templates", "no templates"),
        ({"templates": ["a photo"]}, "templates", "does not hold"),
        ({"templates": ["{} {}"]}, "templates", "does not hold"),
        ({"templates": ["a {}", "a {}"]}, "templates", "same text"),
        ({"schedule": Schedule((5,), (2,))}, "schedule", "ends in 2"),
        ({"trials": 0}, "trials", "0"),
        ({"temperature": 0.0}, "temperature", "0.0"),
    ],
)
def test_what_can_not_be_answered_is_refused_with_the_field(
    engine: DirectEngine, changes: dict[str, Any], field: str, part: str
) -> None:
    asked: dict[str, Any] = {"labels": ["cat", "dog"], "schedule": QUICK, **changes}
    with pytest.raises(InvalidInput, match=part) as refused:
        complete(classify(engine, IMAGE, **asked))
    assert refused.value.field == field
