"""The published adaptive race: rounds of shared timesteps and noise, each of which drops the worst hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import NotANumber
from backbones.noise_schedule import add_noise
from backbones.rows import Capture, UNetRow
from heads.diffusion_classifier.losses import Loss, error_matrix
from heads.diffusion_classifier.schedule import Schedule, new_timesteps

Condition = Tensor | int
"""The network's condition: a text context (T, D), or an index into its class embedding."""

# Rows of one engine call. All their predictions are in memory until their errors are computed.
ASKED_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round. candidates: hypotheses that took part, best first after the first round. kept: those that stay.

    timesteps: those that the round added. errors: (candidates, len(timesteps) * trials) float32, trials innermost.
    mean_errors: (candidates,) float32, over all rows that each has had so far.
    """

    candidates: tuple[int, ...]
    timesteps: tuple[int, ...]
    errors: Tensor
    mean_errors: Tensor
    kept: tuple[int, ...]


async def race(
    engine: Engine,
    latents: Tensor,
    conditions: Sequence[Condition],
    noise: Callable[[int], Tensor],
    schedule: Schedule,
    *,
    loss: Loss = "l2",
    trials: int = 1,
    alphas_cumprod: Tensor | None = None,
    raw_output: bool = False,
    on_round: Callable[[list[Round]], None] | None = None,
) -> list[Round]:
    """Every round of the published algorithm; the last one keeps exactly one hypothesis.

    latents: (C, h, w), the scaled clean latent. conditions: text context (T, D) or class
    label, one a hypothesis.
    noise: index -> (C, h, w); trial r of the i-th timestep ever visited uses index trials * i + r, for all hypotheses.
    alphas_cumprod: (steps,) instead of the backbone's own; in float16 the roots are taken in float16, as the original
    did by default. raw_output: compare the U-Net's output with the noise whatever it predicts, as the original does
    even for v-prediction networks. on_round: called with all rounds so far after each round.
    Raises NotANumber for an error that is not finite, which the original would let win.
    Source: Diffusion Classifier (arXiv:2303.16203), algorithm 2; `eval_prob_adaptive`.
    """
    candidates = tuple(range(len(conditions)))
    errors: dict[int, Tensor] = {index: torch.empty(0) for index in candidates}
    visited = 0
    rounds = []
    steps = len(engine.backbone.alphas_cumprod)
    for timesteps, keep in zip(new_timesteps(schedule, steps), schedule.to_keep, strict=True):
        units = [timestep for timestep in timesteps for _ in range(trials)]
        racing = [conditions[index] for index in candidates]
        drawn = partial(_draw_noise, noise, trials * visited)
        added = await denoising_errors(
            engine, latents, racing, units, drawn, loss=loss, alphas_cumprod=alphas_cumprod, raw_output=raw_output
        )
        visited += len(timesteps)
        for index, new in zip(candidates, added, strict=True):
            errors[index] = torch.cat([errors[index], new])
        means = torch.stack([errors[index].mean() for index in candidates])
        if not means.isfinite().all():
            raise NotANumber("a denoising error is not finite", hint="try dtype=float32, or check the weights")
        kept = tuple(candidates[at] for at in means.sort(stable=True).indices[:keep].tolist())
        rounds.append(Round(candidates, tuple(timesteps), added, means, kept))
        if on_round is not None:
            on_round(rounds)
        candidates = kept
    return rounds


async def denoising_errors(
    engine: Engine,
    latents: Tensor,
    conditions: Sequence[Condition],
    timesteps: Sequence[int],
    noise: Callable[[int], Tensor],
    *,
    loss: Loss = "l2",
    alphas_cumprod: Tensor | None = None,
    raw_output: bool = False,
) -> Tensor:
    """Errors of every condition on every unit (timestep, noise): the basis of all comparisons of labels.

    latents: (C, h, w), scaled and clean. conditions: text contexts (T, D) each, or class labels. noise: place of a unit
    -> (C, h, w), for all conditions. alphas_cumprod, raw_output: as in `race`.
    Returns (len(conditions), len(timesteps)) float32 on the host; an empty result uses no device time.
    """
    if not timesteps:
        return torch.empty(len(conditions), 0)
    table = engine.backbone.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
    capture = Capture(output=True) if raw_output else Capture(noise_pred=True)
    units = max(1, min(len(timesteps), ASKED_ROWS // max(1, len(conditions))))
    parts = []
    for at in range(0, len(timesteps), units):
        chunk = timesteps[at : at + units]
        drawn = await engine.run_on_host(_stack, partial(_draw_noise, noise, at), len(chunk))
        # Noised once and shared by all conditions, which differ only in the text. The rows of a unit are neighbours, so
        # that they meet in one batch and share the stem of the network.
        noised, drawn = await engine.run(_add_noise, latents, drawn, table, chunk)
        rows = [
            _row(unit, timestep, condition, capture)
            for unit, timestep in zip(noised, chunk, strict=True)
            for condition in conditions
        ]
        captures = await engine.unet(rows)
        predicted = [capture.output if raw_output else capture.noise_pred for capture in captures]
        predicted = [noise_pred for at in range(len(conditions)) for noise_pred in predicted[at :: len(conditions)]]
        parts.append(await engine.run(error_matrix, predicted, drawn, loss))
    return torch.cat(parts, dim=1)


def compute_paired_gaps(rounds: Sequence[Round]) -> dict[int, float]:
    """How much worse each hypothesis is than the winner, over just the rows that both have had; never below 0.

    Errors vary far more between timesteps than between hypotheses, so means over different rows cannot be compared. A
    hypothesis dropped early by another may beat the final winner on those few rows: then its gap is 0, because the race
    decides the answer.
    """
    winner = rounds[-1].kept[0]
    gaps: dict[int, list[Tensor]] = {index: [] for index in rounds[0].candidates}
    for round_ in rounds:
        best = round_.errors[round_.candidates.index(winner)]
        for index, own in zip(round_.candidates, round_.errors, strict=True):
            gaps[index].append(own - best)
    return {index: max(0.0, torch.cat(parts).mean().item()) for index, parts in gaps.items()}


def _row(noised: Tensor, timestep: int, condition: Condition, capture: Capture) -> UNetRow:
    if isinstance(condition, int):
        return UNetRow(noised, timestep, None, capture, class_label=condition)
    return UNetRow(noised, timestep, condition, capture)


def _draw_noise(noise: Callable[[int], Tensor], first: int, place: int) -> Tensor:
    return noise(first + place)


def _stack(noise: Callable[[int], Tensor], count: int) -> Tensor:
    return torch.stack([noise(place) for place in range(count)])


def _add_noise(latents: Tensor, drawn: Tensor, table: Tensor, timesteps: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """The clean latent noised to each unit's timestep, (C, h, w) each, and the noise as it was added, (N, C, h, w)."""
    drawn = drawn.to(latents)
    noised = [add_noise(latents, own, table, timestep) for own, timestep in zip(drawn, timesteps, strict=True)]
    return noised, drawn
