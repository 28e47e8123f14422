"""The race on a small real network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.errors import NotANumber
from backbones.noise_schedule import add_noise, draw_noise
from heads.diffusion_classifier.race import Round, compute_paired_gaps, denoising_errors, race
from heads.diffusion_classifier.schedule import Schedule

LATENTS = draw_noise(b"latents", 0, (4, 8, 8))


def noise(index: int) -> Tensor:
    return draw_noise(b"noise", index, (4, 8, 8))


@pytest.mark.parametrize("loss", ["l2", "l1", "huber"])
def test_errors_are_those_of_plain_diffusers_calls(engine: DirectEngine, loss: str) -> None:
    contexts = complete(engine.embed(["a cat", "a dog"]))
    timesteps = [3, 500, 997]
    errors = complete(denoising_errors(engine, LATENTS, contexts, timesteps, noise, loss=loss))  # type: ignore[arg-type]
    unet = engine.model.variants[""].unet  # type: ignore[attr-defined]
    for which, context in enumerate(contexts):
        for place, timestep in enumerate(timesteps):
            noised = add_noise(LATENTS, noise(place), engine.backbone.alphas_cumprod, timestep)
            with torch.no_grad():
                sample = unet(noised[None], timestep, context[None]).sample[0]
            difference = (noise(place) - sample).abs()
            huber = torch.where(difference < 1, 0.5 * difference**2, difference - 0.5)
            expected = {"l2": difference**2, "l1": difference, "huber": huber}[loss].mean()
            torch.testing.assert_close(errors[which, place], expected, atol=2e-5, rtol=0)


def test_trials_take_consecutive_noises(engine: DirectEngine) -> None:
    indices: list[int] = []

    def count(index: int) -> Tensor:
        indices.append(index)
        return noise(index)

    contexts = complete(engine.embed(["a cat", "a dog"]))
    rounds = complete(race(engine, LATENTS, contexts, count, Schedule((2, 6), (2, 1)), trials=3))
    assert indices == list(range(3 * 2 + 3 * len(rounds[1].timesteps)))


def test_a_label_alone_wins(engine: DirectEngine) -> None:
    (outcome,) = complete(race(engine, LATENTS, complete(engine.embed(["a cat"])), noise, Schedule((2,), (1,))))
    assert outcome.kept == (0,)


def test_an_error_that_is_not_finite_does_not_win(engine: DirectEngine) -> None:
    contexts = complete(engine.embed(["a cat", "a dog"]))
    contexts[0] = contexts[0] * float("nan")
    with pytest.raises(NotANumber):
        complete(race(engine, LATENTS, contexts, noise, Schedule((2,), (1,))))


def test_gaps_compare_only_rows_that_both_have() -> None:
    first = Round((0, 1, 2), (1, 2), torch.tensor([[5.0, 5.0], [1.0, 3.0], [3.0, 3.0]]), torch.zeros(3), (1, 2))
    second = Round((1, 2), (3,), torch.tensor([[9.0], [8.0]]), torch.zeros(2), (2,))
    # Label 0 and the winner share two rows: (5 - 3 + 5 - 3) / 2. Label 1 beats it on three: below 0, so put to 0.
    assert compute_paired_gaps([first, second]) == {0: 2.0, 1: 0.0, 2: 0.0}
