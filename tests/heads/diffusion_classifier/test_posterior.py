"""Outcomes of races as distributions, by hand."""

from __future__ import annotations

import math

import pytest

from heads.diffusion_classifier.hypotheses import Hypotheses
from heads.diffusion_classifier.posterior import Departure, HypothesisOutcomes, Scale, distribution, list_dropped_labels

THREE = Hypotheses(("a", "b", "c"), ((0,), (1,), (2,)), ((0,), (1,), (2,)))
LABELS = ("a", "b", "c")


def test_logits_are_scaled_gaps_to_the_winner() -> None:
    outcome = HypothesisOutcomes(winner=1, gaps=[0.1, 0.0, 0.3], survived=[2, 2, 2], mean_errors=[0.6, 0.5, 0.8])
    posterior = distribution(outcome, THREE, LABELS, Scale(elements=10, temperature=2.0))
    weights = [math.exp(-0.5), 1.0, math.exp(-1.5)]
    assert posterior.label == "b"
    assert posterior.logits == pytest.approx((-1.0, 0.0, -3.0))
    assert posterior.probabilities == pytest.approx([weight / sum(weights) for weight in weights])


def test_the_hypothesis_that_lasted_longest_speaks_for_its_label() -> None:
    two = Hypotheses(("x", "y", "z"), ((0,), (1,), (2,)), ((0, 1), (2,)))
    outcome = HypothesisOutcomes(winner=2, gaps=[0.01, 0.2, 0.0], survived=[0, 3, 3], mean_errors=[0.1, 0.7, 0.5])
    posterior = distribution(outcome, two, ("first", "second"), Scale(elements=1))
    assert posterior.mean_errors == (0.7, 0.5)
    assert posterior.rounds_survived == (3, 3)


def test_labels_of_one_hypothesis_tie() -> None:
    same = Hypotheses(("x",), ((0,),), ((0,), (0,)))
    posterior = distribution(HypothesisOutcomes(0, [0.0], [1], [0.4]), same, ("cat", "CAT"), Scale(elements=4))
    assert (posterior.label, posterior.tied, posterior.probabilities) == ("cat", ("CAT",), (0.5, 0.5))


def test_a_label_leaves_with_the_last_of_its_hypotheses() -> None:
    two = Hypotheses(("x", "y", "z"), ((0,), (1,), (2,)), ((0, 1), (2,)))
    departures = [Departure(0, 2, units=4, rows=12)]
    assert list_dropped_labels(departures, two, ("first", "second")) == ()
    (dropped,) = list_dropped_labels([*departures, Departure(1, 2, units=8, rows=20)], two, ("first", "second"))
    assert (dropped.label, dropped.by, dropped.units, dropped.rows) == ("first", "second", 8, 20)
