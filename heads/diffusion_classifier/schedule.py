"""The published adaptive schedule: which timesteps each round adds, and how many hypotheses it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Schedule:
    """One value a round: n_samples is the size of the comb of timesteps to visit, to_keep the hypotheses that stay.

    The rounds are not nested: in (20, 50) the second comb shares no timestep with the first, and adds 50.
    """

    n_samples: tuple[int, ...]
    to_keep: tuple[int, ...]


def published_schedule(labels: int) -> Schedule:
    """The schedule that the paper's commands use for a data set of about so many labels.

    CIFAR-10 (10 labels), Pets (37), Food, Aircraft and Flowers (about 100), ImageNet (1000).
    Source: `commands.md` of the authors' repository.
    """
    if labels <= 20:
        return fit_schedule(Schedule((50, 500), (5, 1)), labels)
    if labels <= 50:
        return fit_schedule(Schedule((25, 250), (5, 1)), labels)
    if labels <= 200:
        return fit_schedule(Schedule((20, 50, 100, 500), (20, 10, 5, 1)), labels)
    return fit_schedule(Schedule((50, 100, 500, 1000), (500, 50, 10, 1)), labels)


def default_schedule(labels: int) -> Schedule:
    """The same algorithm on a tenth to two fifths of the published rows: the default for requests.

    Ours, not the paper's: docs/zero-shot.md lists its rows by the number of labels.
    """
    if labels <= 20:
        return fit_schedule(Schedule((10, 50), (4, 1)), labels)
    return fit_schedule(Schedule((10, 20, 50), (20, 5, 1)), labels)


def fit_schedule(schedule: Schedule, hypotheses: int) -> Schedule:
    """The schedule for fewer hypotheses than it was made for: rounds that could drop no hypothesis are left out."""
    rounds = [
        (samples, keep)
        for samples, keep in zip(schedule.n_samples, schedule.to_keep, strict=True)
        if keep < hypotheses or keep == 1
    ]
    return Schedule(tuple(samples for samples, _ in rounds), tuple(keep for _, keep in rounds))


def check_schedule(schedule: Schedule, hypotheses: int, training_steps: int = 1000) -> None:
    """Raises InvalidInput for a schedule that cannot end with one of so many hypotheses."""
    samples, keep = schedule.n_samples, schedule.to_keep
    if not samples or len(samples) != len(keep):
        raise InvalidInput(
            "schedule",
            f"n_samples has {len(samples)} rounds and to_keep {len(keep)}",
            hint="give both the same number of rounds, one at least",
        )
    if any(not 1 <= count <= training_steps for count in samples):
        raise InvalidInput("schedule", f"n_samples {list(samples)}", hint=f"each round takes 1 to {training_steps}")
    if keep[-1] != 1:
        raise InvalidInput("schedule", f"to_keep ends in {keep[-1]}", hint="the last round must keep 1, the answer")
    if any(after >= before for before, after in pairwise(keep)) or keep[-1] < 1:
        raise InvalidInput(
            "schedule", f"to_keep {list(keep)} does not decrease", hint="each round must keep fewer than the one before"
        )
    if keep[0] > hypotheses:
        raise InvalidInput(
            "schedule",
            f"the first round keeps {keep[0]} of {hypotheses} hypotheses",
            hint=f"keep {hypotheses} at most (hypotheses are labels times templates)",
        )


def new_timesteps(schedule: Schedule, training_steps: int = 1000) -> list[list[int]]:
    """The timesteps that each round adds, ascending; a round may add none, and then only drops hypotheses.

    A comb of max(n_samples) teeth lies over the training steps; each round visits an even selection of its teeth, less
    those already visited. Where the numbers do not divide, the upper end of the range is not reached.
    Source: Diffusion Classifier, `eval_prob_adaptive`.
    """
    most = max(schedule.n_samples)
    step = training_steps // most
    base = list(range(step // 2, training_steps, step))[:most]
    visited: set[int] = set()
    rounds = []
    for count in schedule.n_samples:
        stride = len(base) // count
        chosen = [t for t in base[stride // 2 :: stride][:count] if t not in visited]
        visited.update(chosen)
        rounds.append(sorted(chosen))
    return rounds
