"""Classification over the caller's own labels: what is decided, repeated, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import classify, classify_anytime
from heads.diffusion_classifier.schedule import Schedule
from heads.diffusion_classifier.units import Layout
from heads.results import Posterior

IMAGE = np.random.default_rng(3).integers(0, 255, (40, 90, 3), dtype=np.uint8)
QUICK = Schedule((3, 6), (2, 1))


def test_the_same_request_gets_the_same_answer(engine: DirectEngine) -> None:
    first, second = (complete(classify(engine, IMAGE, ["cat", "dog", "horse"], schedule=QUICK)) for _ in range(2))
    assert first.label == second.label
    assert first.probabilities == second.probabilities
    assert first.mean_errors == second.mean_errors


def test_the_order_of_labels_does_not_matter(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse"]
    forward = complete(classify(engine, IMAGE, labels, schedule=QUICK))
    backward = complete(classify(engine, IMAGE, labels[::-1], schedule=QUICK))
    assert forward.label == backward.label
    np.testing.assert_allclose(forward.mean_errors, backward.mean_errors[::-1], atol=1e-5)


def test_the_answer_has_the_highest_probability(engine: DirectEngine) -> None:
    posterior = complete(classify(engine, IMAGE, ["cat", "dog", "horse", "tree"], schedule=QUICK))
    assert posterior.probabilities[posterior.labels.index(posterior.label)] == max(posterior.probabilities)
    assert sum(posterior.probabilities) == pytest.approx(1)
    assert posterior.rounds_survived[posterior.labels.index(posterior.label)] == 2
    assert not posterior.calibrated


def test_a_higher_temperature_flattens(engine: DirectEngine) -> None:
    sharp, flat = (
        complete(classify(engine, IMAGE, ["cat", "dog"], schedule=Schedule((6,), (1,)), temperature=t))
        for t in (1, 1e9)
    )
    assert max(sharp.probabilities) > max(flat.probabilities)
    assert flat.probabilities == pytest.approx((0.5, 0.5))


def test_the_best_of_several_templates_speaks_for_a_label(engine: DirectEngine) -> None:
    templates = ("a photo of a {}.", "a sketch of the {}.")
    posterior = complete(classify(engine, IMAGE, ["cat", "dog"], templates=templates, schedule=Schedule((4,), (1,))))
    alone = [
        complete(classify(engine, IMAGE, ["cat", "dog"], templates=(template,), schedule=Schedule((4,), (1,))))
        for template in templates
    ]
    best = [min(errors) for errors in zip(*[result.mean_errors for result in alone], strict=True)]
    np.testing.assert_allclose(posterior.mean_errors, best, atol=1e-5)
    assert posterior.rows == 16


@pytest.mark.parametrize(
    ("changes", "field", "part"),
    [
        ({"labels": []}, "labels", "no labels"),
        ({"labels": ["cat", " "]}, "labels", "is empty"),
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
def test_invalid_options_are_refused_with_the_field(
    engine: DirectEngine, changes: dict[str, Any], field: str, part: str
) -> None:
    options: dict[str, Any] = {"labels": ["cat", "dog"], "schedule": QUICK, **changes}
    with pytest.raises(InvalidInput, match=part) as refused:
        complete(classify(engine, IMAGE, **options))
    assert refused.value.field == field


FEW = Layout(40, 20, (4, 8))


def test_the_race_in_full_is_the_schedule_of_one_round(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse"]
    seen: list[Posterior] = []
    raced = complete(classify_anytime(engine, IMAGE, labels, confidence=1, layout=FEW, on_progress=seen.append))
    assert (raced.stopped, raced.confidence, raced.rows) == ("complete", 1.0, 3 * 40)
    assert [posterior.rows for posterior in seen] == [3 * 8, 3 * 16, 3 * 40]
    assert seen[-1].probabilities == raced.probabilities
    # The published grid of 40 timesteps has the same timesteps in the same order, and so the same noise.
    scheduled = complete(classify(engine, IMAGE, labels, schedule=Schedule((40,), (1,))))
    assert raced.label == scheduled.label
    np.testing.assert_allclose(raced.mean_errors, scheduled.mean_errors, atol=1e-5)
    np.testing.assert_allclose(raced.probabilities, scheduled.probabilities, atol=1e-4)


def test_the_race_reports_when_each_label_was_dropped(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse", "tree"]
    posterior = complete(classify_anytime(engine, IMAGE, labels, confidence=0.6))
    again = complete(classify_anytime(engine, IMAGE, labels, confidence=0.6))
    assert (posterior.label, posterior.rows, posterior.probabilities) == (again.label, again.rows, again.probabilities)
    assert {entry.label for entry in posterior.dropped} | {posterior.label} | set(posterior.tied) == set(labels)
    assert [entry.rows for entry in posterior.dropped] == sorted(entry.rows for entry in posterior.dropped)
    assert posterior.dropped[-1].rows == posterior.rows
    assert posterior.confidence is not None
    assert posterior.confidence >= 0.6
    assert posterior.probabilities[labels.index(posterior.label)] == max(posterior.probabilities)


def test_a_race_that_its_budget_ends_answers_with_its_evidence(engine: DirectEngine) -> None:
    labels = ["cat", "dog", "horse"]
    capped = complete(classify_anytime(engine, IMAGE, labels, confidence=1, budget=Budget(rows=50)))
    assert (capped.stopped, capped.rows) == ("budget", 48)
    assert capped.confidence is not None
    assert capped.confidence < 1
    hurried = complete(classify_anytime(engine, IMAGE, labels, confidence=1, budget=Budget(seconds=1e-9)))
    assert (hurried.stopped, hurried.rows, hurried.confidence) == ("budget", 6, 0.0)
    with pytest.raises(InvalidInput, match="one block of 6"):
        complete(classify_anytime(engine, IMAGE, labels, budget=Budget(rows=5)))


@pytest.mark.parametrize("procedure", [classify, classify_anytime])
def test_labels_with_the_same_tokens_cost_nothing_and_tie(engine: DirectEngine, procedure: Any) -> None:
    options = {"schedule": QUICK} if procedure is classify else {"layout": FEW}
    alone = complete(procedure(engine, IMAGE, ["cat", "dog"], **options))
    posterior = complete(procedure(engine, IMAGE, ["cat", "dog", "CAT", "Dog"], **options))
    assert (posterior.rows, posterior.label) == (alone.rows, alone.label)
    assert posterior.tied == (posterior.label.upper() if posterior.label == "cat" else "Dog",)
    assert posterior.probabilities[:2] == posterior.probabilities[2:]
    assert sum(posterior.probabilities) == pytest.approx(1)


def test_a_label_alone_costs_one_block(engine: DirectEngine) -> None:
    posterior = complete(classify_anytime(engine, IMAGE, ["cat", "CAT"]))
    assert (posterior.label, posterior.confidence, posterior.rows, posterior.stopped) == ("cat", 1.0, 2, "decided")
    assert posterior.tied == ("CAT",)


def test_templates_are_averaged_or_race_for_themselves(engine: DirectEngine) -> None:
    labels, templates = ["cat", "dog"], ("a photo of a {}.", "a sketch of the {}.")
    alone = [
        complete(classify_anytime(engine, IMAGE, labels, templates=(template,), confidence=1, layout=FEW))
        for template in templates
    ]
    pairs = list(zip(*[result.mean_errors for result in alone], strict=True))
    for combine, put_together in (("mean", np.mean), ("best_prompt", np.min)):
        options: dict[str, Any] = {"templates": templates, "combine": combine, "confidence": 1, "layout": FEW}
        posterior = complete(classify_anytime(engine, IMAGE, labels, **options))
        np.testing.assert_allclose(posterior.mean_errors, [put_together(pair) for pair in pairs], atol=1e-5)
        assert posterior.rows == 2 * 2 * 40


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"confidence": 0.0}, "confidence"),
        ({"confidence": 1.1}, "confidence"),
        ({"indifference": -1.0}, "indifference"),
    ],
)
def test_numbers_of_a_race_are_checked(engine: DirectEngine, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        complete(classify_anytime(engine, IMAGE, ["cat", "dog"], **changes))
    assert refused.value.field == field
