"""The temperature is the one that the truths were drawn at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from heads.calibration import fit_temperature


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_truths_drawn_at_a_temperature_give_it_back(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (8000, 5))
    shares = softmax(logits / temperature, axis=1).cumsum(axis=1)
    truth = (generator.random((8000, 1)) > shares).sum(axis=1).clip(max=4)
    fitted_temperature, loss = fit_temperature(logits, truth)
    assert fitted_temperature == pytest.approx(temperature, rel=0.08)
    assert loss < fit_temperature(logits, np.roll(truth, 1))[1]


def test_answers_that_are_all_right_do_not_ask_for_certainty() -> None:
    logits, truth = np.eye(3)[[0, 1, 2, 0]] * 100.0, np.array([0, 1, 2, 0])
    fitted_temperature, _ = fit_temperature(logits, truth, bounds=(-7.0, 14.0))
    claimed = softmax(logits / fitted_temperature, axis=1).max(axis=1)
    assert (claimed < 0.9).all()
    many, _ = fit_temperature(np.tile(logits, (50, 1)), np.tile(truth, 50), bounds=(-7.0, 14.0))
    assert many < fitted_temperature


def test_answers_that_are_all_wrong_flatten() -> None:
    logits, truth = np.eye(3)[[0, 1, 2]], np.array([1, 2, 0])
    fitted_temperature, _ = fit_temperature(logits, truth)
    assert fitted_temperature == pytest.approx(np.exp(4), rel=0.01)


def test_weights_count_an_answer_as_often() -> None:
    generator = np.random.default_rng(1)
    logits, truth = generator.normal(0, 2, (40, 3)), generator.integers(0, 3, 40)
    # The pseudo-counts see the number of answers, so both sides have eighty.
    twice = np.concatenate([logits[:20], logits[:20], logits[20:], logits[20:]])
    truths = np.concatenate([truth[:20], truth[:20], truth[20:], truth[20:]])
    weights = np.repeat([3.0, 1.0], 40)
    heavy = np.concatenate([logits[:20]] * 3 + [logits[20:]])
    heavy_truth = np.concatenate([truth[:20]] * 3 + [truth[20:]])
    assert fit_temperature(twice, truths, weights=weights)[0] == pytest.approx(
        fit_temperature(heavy, heavy_truth)[0], rel=1e-3
    )
