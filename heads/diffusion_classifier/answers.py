"""A posterior over labels as an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from heads.results import Posterior


class LabelAnswer(BaseModel):
    """One label with its probability."""

    label: str
    probability: float
    mean_error: float = Field(
        description="Mean error of the predicted noise over the rows computed for this label. Compare it "
        "only between labels that were dropped in the same round."
    )
    rounds_survived: int


class DroppedAnswer(BaseModel):
    """A label that the race dropped."""

    label: str
    by: str = Field(description="The label that led when this label was dropped.")
    units: int = Field(description="Number of timesteps at which the label was evaluated.")
    rows: int = Field(description="Number of U-Net rows computed for all labels up to this point.")


class ProgressAnswer(BaseModel):
    """The posterior over the labels so far, most likely first."""

    label: str = Field(description="The most likely label.")
    posterior: list[LabelAnswer]
    temperature: float = Field(description="Temperature that the logits were divided by.")
    calibrated: bool = Field(
        description="Whether the temperature was fitted to labelled images with these options. False if "
        "the budget ended the race, and in progress events."
    )
    confidence: float | None = Field(
        description="Approximate probability that evaluating all timesteps would give the same label; null "
        "with `scheme` `schedule`, which does not estimate it."
    )
    tied: list[str] = Field(description="Labels that count as equally good as `label`, by `indifference`.")
    dropped: list[DroppedAnswer] = Field(description="Labels in the order in which they were dropped.")
    rows: int = Field(description="Number of U-Net rows computed.")


class PosteriorAnswer(ProgressAnswer):
    """The posterior over the labels, most likely first, and why the work ended."""

    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"] = Field(
        description="Why the work ended. `schedule`: all rounds were run. `decided`: one label was left. "
        "`indifferent`: the labels left differ by less than `indifference`. `budget`: the budget was spent. "
        "`complete`: all timesteps were evaluated."
    )


def posterior_fields(posterior: Posterior) -> dict[str, Any]:
    """The fields of a `PosteriorAnswer`."""
    return {
        "label": posterior.label,
        "posterior": rank_labels(posterior),
        "temperature": posterior.temperature,
        "calibrated": posterior.calibrated,
        "confidence": posterior.confidence,
        "tied": list(posterior.tied),
        "dropped": [DroppedAnswer(**asdict(label)) for label in posterior.dropped],
        "stopped": posterior.stopped,
        "rows": posterior.rows,
    }


def answer_progress(posterior: Posterior, head: object = None, options: object = None) -> ProgressAnswer:
    """A posterior while the work continues."""
    fields = posterior_fields(posterior)
    return ProgressAnswer(**{name: fields[name] for name in ProgressAnswer.model_fields})


def rank_labels(posterior: Posterior) -> list[LabelAnswer]:
    """The labels, most probable first; the answer leads those that tie with it."""
    answers = [
        LabelAnswer(label=label, probability=probability, mean_error=error, rounds_survived=rounds)
        for label, probability, error, rounds in zip(
            posterior.labels,
            posterior.probabilities,
            posterior.mean_errors,
            posterior.rounds_survived,
            strict=True,
        )
    ]
    return sorted(answers, key=lambda answer: (answer.label != posterior.label, -answer.probability, answer.mean_error))
