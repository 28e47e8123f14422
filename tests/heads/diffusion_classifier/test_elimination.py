"""The promise of the race: the share of wrong answers is at most the requested one, over its own random order."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.elimination import Elimination
from heads.diffusion_classifier.units import Layout
from tests.heads.diffusion_classifier.tables import LAYOUT, MATRIX, races, wrong

BEST = int(MATRIX.mean(axis=1).argmin())


def at_most(count: int, of: int, share: float) -> bool:
    """Whether so many of so many can still come from a probability of `share` at most, at the 99.9 % level."""
    return bool(binomtest(count, of, share, alternative="greater").pvalue > 0.001)


@pytest.mark.parametrize("error_rate", [0.2, 0.05, 0.01])
def test_the_answer_is_that_of_the_whole_grid_and_costs_a_part_of_it(error_rate: float) -> None:
    finished = races(MATRIX, range(500), error_rate=error_rate)
    assert at_most(sum(1 for _ in wrong(finished, BEST)), len(finished), error_rate)
    assert np.mean([race.rows for race in finished]) < MATRIX.size / 5


def test_being_surer_costs_more_rows() -> None:
    rows = [np.mean([race.rows for race in races(MATRIX, range(200), error_rate=rate)]) for rate in (0.2, 0.05, 0.001)]
    assert rows == sorted(rows)


@pytest.mark.parametrize("tails", ["as measured", "student"])
def test_one_of_two_equal_labels_is_lost_no_more_often_than_requested(tails: str) -> None:
    two = MATRIX[[BEST, (BEST + 1) % len(MATRIX)]].copy()
    if tails == "student":
        two = np.random.default_rng(5).standard_t(3, size=two.shape)
    # The designated winner is better by next to nothing: the hardest null there is.
    two[0] += two[1].mean() - two[0].mean() - 1e-12
    layout = Layout(1000, 500, (16, 32, 64, 128, 256))
    finished = races(two, range(1500), layout, error_rate=0.05)
    lost = sum(any(drop.hypothesis == 0 for drop in race.elimination.drops) for race in finished)
    assert at_most(lost, len(finished), 0.05)
    # A test that never rejects would pass too, and never save a row.
    assert lost > 0


def test_many_equal_labels_with_heavy_tails() -> None:
    table = np.random.default_rng(6).standard_t(3, size=(30, 1000))
    table -= table.mean(axis=1, keepdims=True)
    table[0] -= 1e-12
    finished = races(table, range(150), error_rate=0.05)
    lost = sum(any(drop.hypothesis == 0 for drop in race.elimination.drops) for race in finished)
    assert at_most(lost, len(finished), 0.05)


@pytest.fixture(scope="module")
def close_errors() -> NDArray[np.float64]:
    """The measured errors, every rival only a little above the best label."""
    table: NDArray[np.float64] = MATRIX - MATRIX.mean(axis=1, keepdims=True) + MATRIX.mean()
    table[BEST] -= 2e-4
    return table


@pytest.mark.parametrize("rows", [None, 3000])
def test_few_wrong_answers_claim_to_be_sure(close_errors: NDArray[np.float64], rows: int | None) -> None:
    finished = races(close_errors, range(400), error_rate=0.05, budget=Budget(rows=rows))
    confidences = [race.elimination.confidence() for race in wrong(finished, BEST)]
    for level in (0.5, 0.8, 0.95, 0.99):
        assert at_most(sum(confidence >= level for confidence in confidences), len(finished), 1 - level)
    if rows is not None:
        # Here most leaders are wrong, and their confidence is low.
        assert len(confidences) > len(finished) / 4
        assert max(race.rows for race in finished) <= rows


def test_all_blocks_give_the_smallest_mean_exactly(close_errors: NDArray[np.float64]) -> None:
    for race in races(close_errors, range(20), error_rate=0.0):
        assert race.stopped == "complete"
        assert race.elimination.leader == BEST
        assert race.elimination.confidence() == 1.0
        assert race.rows == close_errors.size
        assert len(race.elimination.drops) == len(close_errors) - 1


def test_confidence_is_not_complete_if_one_was_dropped_on_a_part(close_errors: NDArray[np.float64]) -> None:
    table = close_errors.copy()
    table[(BEST + 1) % len(table)] += 0.02
    (race,) = races(table, [3], error_rate=0.01)
    assert race.stopped == "complete"
    assert 0.99 <= race.elimination.confidence() < 1.0


def test_labels_with_equal_means_tie() -> None:
    table = np.stack([MATRIX[BEST], MATRIX[BEST], MATRIX[BEST] + 1])
    (race,) = races(table, [0], error_rate=0.05)
    assert (race.stopped, race.elimination.leader) == ("complete", 0)
    assert race.elimination.find_tied() == [1]
    assert [drop.hypothesis for drop in race.elimination.drops] == [2]


def test_indifference_ends_a_race_between_near_equals(close_errors: NDArray[np.float64]) -> None:
    careful = races(close_errors, range(20), error_rate=0.05)
    easy = races(close_errors, range(20), error_rate=0.05, indifference=0.01)
    assert {race.stopped for race in easy} == {"indifferent"}
    assert sum(race.rows for race in easy) < sum(race.rows for race in careful) / 2
    for race in easy:
        elimination = race.elimination
        assert {elimination.leader, *elimination.find_tied()} == set(elimination.candidates.tolist())
        means = close_errors.mean(axis=1)
        assert means[elimination.leader] - means.min() <= 0.01


def test_gaps_are_paired_and_never_negative() -> None:
    elimination = Elimination(3, Layout(16, 8, (4,)), 0.05)
    first = np.array([[1.0, 2.0, 3.0, 4.0], [9.0, 9.1, 9.0, 9.1], [1.0, 2.1, 3.0, 4.1]])
    elimination.extend(first)
    elimination.look()
    assert elimination.candidates.tolist() == [0, 2]
    elimination.extend(np.array([[5.0, 5.0, 5.0, 5.0], [1.0, 1.0, 1.0, 1.0]]))
    elimination.look()
    assert elimination.leader == 2
    # Hypothesis 1 is compared on four blocks only, hypothesis 0 on all eight.
    np.testing.assert_allclose(elimination.gaps(), [(-0.2 + 16) / 8, (36.2 - 10.2) / 4, 0])
    assert elimination.drops[0].blocks == 4


def test_hypotheses_of_one_answer_do_not_have_to_race_each_other() -> None:
    table = np.stack([MATRIX[BEST], MATRIX[BEST] + 1e-6, MATRIX[BEST] + 1])
    (race,) = races(table, [0], LAYOUT, error_rate=0.05, answers=[0, 0, 1])
    assert race.stopped == "decided"
    assert race.elimination.confidence() >= 0.95
