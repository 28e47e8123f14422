"""The outcome of a race as a distribution over the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from heads.diffusion_classifier.anytime import Race
from heads.diffusion_classifier.hypotheses import Hypotheses
from heads.diffusion_classifier.race import Round, compute_paired_gaps
from heads.results import DroppedLabel, Posterior


@dataclass(frozen=True, slots=True)
class HypothesisOutcomes:
    """The outcome of each hypothesis; all fields are in the order of hypotheses.

    winner: the hypothesis that leads. gaps: paired mean error above the winner's. survived: rounds or looks after which
    it was still in the race. mean_errors: over all rows that each had.
    """

    winner: int
    gaps: Sequence[float]
    survived: Sequence[int]
    mean_errors: Sequence[float]


@dataclass(frozen=True, slots=True)
class Scale:
    """The factors that turn gaps into logits.

    elements: of the latent. temperature: above 0. calibrated: fitted to labelled data.
    A gap times the number of elements is the difference of summed squared errors in the evidence lower bound.
    """

    elements: int
    temperature: float = 1.0
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Departure:
    """A hypothesis that was dropped. units: timesteps it was evaluated on; rows: spent by all until then."""

    hypothesis: int
    by: int
    units: int
    rows: int


def distribution(outcome: HypothesisOutcomes, hypotheses: Hypotheses, labels: Sequence[str], scale: Scale) -> Posterior:
    """Softmax of minus each label's scaled paired gap to the winner, without rows and drops.

    Of a label's hypotheses the one that was dropped last counts, and among equal ones the closest to the winner.
    """
    best = [
        min(own, key=lambda hypothesis: (-outcome.survived[hypothesis], outcome.gaps[hypothesis]))
        for own in hypotheses.of_label
    ]
    logits = torch.tensor([-scale.elements * outcome.gaps[hypothesis] for hypothesis in best], dtype=torch.float64)
    winners = [label for label, own in zip(labels, hypotheses.of_label, strict=True) if outcome.winner in own]
    return Posterior(
        labels=tuple(labels),
        probabilities=tuple(torch.softmax(logits / scale.temperature, dim=0).tolist()),
        calibrated=scale.calibrated,
        mean_errors=tuple(outcome.mean_errors[hypothesis] for hypothesis in best),
        rounds_survived=tuple(outcome.survived[hypothesis] for hypothesis in best),
        rows=0,
        label=winners[0],
        tied=tuple(winners[1:]),
        temperature=scale.temperature,
        logits=tuple(logits.tolist()),
    )


def compute_schedule_posterior(
    rounds: Sequence[Round], hypotheses: Hypotheses, labels: Sequence[str], scale: Scale
) -> Posterior:
    """The posterior of the published race, without a confidence."""
    gaps = compute_paired_gaps(rounds)
    last_means = {
        index: mean
        for round_ in rounds
        for index, mean in zip(round_.candidates, round_.mean_errors.tolist(), strict=True)
    }
    outcome = HypothesisOutcomes(
        winner=rounds[-1].kept[0],
        gaps=[gaps[index] for index in range(len(gaps))],
        survived=[sum(index in round_.kept for round_ in rounds) for index in range(len(gaps))],
        mean_errors=[last_means[index] for index in range(len(gaps))],
    )
    departures, rows, units = [], 0, 0
    for round_ in rounds:
        rows, units = rows + round_.errors.numel(), units + round_.errors.shape[1]
        left = [index for index in round_.candidates if index not in round_.kept]
        departures += [Departure(index, round_.kept[0], units, rows) for index in left]
    result = distribution(outcome, hypotheses, labels, scale)
    return replace(result, rows=rows, dropped=list_dropped_labels(departures, hypotheses, labels))


def compute_race_posterior(race: Race, hypotheses: Hypotheses, labels: Sequence[str], scale: Scale) -> Posterior:
    """The outcome of the race with a known error rate, at its end or while it runs.

    Temperatures were fitted to complete races: a race that still runs or was ended by its budget is not calibrated.
    """
    elimination, layout = race.elimination, race.elimination.layout
    dropped_at = {drop.hypothesis: drop.blocks for drop in elimination.drops}
    looks = [*layout.looks, layout.blocks]
    survived = [
        sum(look <= elimination.visited and look < dropped_at.get(hypothesis, layout.blocks + 1) for look in looks)
        for hypothesis in range(len(hypotheses.members))
    ]
    outcome = HypothesisOutcomes(
        winner=elimination.leader,
        gaps=elimination.gaps().tolist(),
        survived=survived,
        mean_errors=elimination.mean_errors().tolist(),
    )
    departures = [
        Departure(drop.hypothesis, drop.by, drop.blocks * layout.block_units, race.rows_at[drop.blocks])
        for drop in elimination.drops
    ]
    result = distribution(outcome, hypotheses, labels, scale)
    equal = {elimination.leader, *elimination.find_tied()}
    tied = [label for label, own in zip(labels, hypotheses.of_label, strict=True) if equal & set(own)]
    stopped = race.stopped or "budget"
    return replace(
        result,
        calibrated=scale.calibrated and stopped != "budget",
        rows=race.rows,
        confidence=elimination.confidence(),
        tied=tuple(label for label in tied if label != result.label),
        dropped=list_dropped_labels(departures, hypotheses, labels),
        stopped=stopped,
    )


def list_dropped_labels(
    departures: Sequence[Departure], hypotheses: Hypotheses, labels: Sequence[str]
) -> tuple[DroppedLabel, ...]:
    """Labels that left, in order: a label leaves with the last of its hypotheses."""
    gone = {departure.hypothesis: place for place, departure in enumerate(departures)}
    names = {
        hypothesis: label
        for label, own in reversed(list(zip(labels, hypotheses.of_label, strict=True)))
        for hypothesis in own
    }
    left = []
    for label, own in zip(labels, hypotheses.of_label, strict=True):
        if all(hypothesis in gone for hypothesis in own):
            last = departures[max(gone[hypothesis] for hypothesis in own)]
            left.append((gone[last.hypothesis], DroppedLabel(label, names[last.by], last.units, last.rows)))
    return tuple(label for _, label in sorted(left, key=lambda pair: pair[0]))
