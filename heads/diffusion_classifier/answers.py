"""A posterior over labels as an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from heads.results import Posterior


class LabelAnswer(BaseModel):
    """One label's part of the posterior."""

    label: str
    probability: float
    mean_error: float = Field(
        description="Mean error of the predicted noise over the rows it got before it was dropped; comparable only "
        "between labels that were dropped in the same round."
    )
    rounds_survived: int


class DroppedAnswer(BaseModel):
    """A label that left."""

    label: str
    by: str = Field(description="The label that led then.")
    units: int = Field(description="Timesteps that it was tried on.")
    rows: int = Field(description="U-Net rows that all labels had taken until then.")


class ProgressAnswer(BaseModel):
    """The posterior over the labels, best first, as it stands."""

    label: str = Field(description="The answer: the label that outlived all others, or leads them.")
    posterior: list[LabelAnswer]
    temperature: float = Field(description="What the logits were divided by.")
    calibrated: bool = Field(
        description="Whether the temperature was fitted to labelled images, for answers of this kind. False where a "
        "budget cut the race, and while a race goes on."
    )
    confidence: float | None = Field(
        description="About 1 minus the probability that all timesteps would have given another answer; null with a "
        "schedule, which does not know it."
    )
    tied: list[str] = Field(description="Labels that count as equal to the answer.")
    dropped: list[DroppedAnswer] = Field(description="The labels that were dropped, in that order.")
    rows: int = Field(description="U-Net rows spent.")


class PosteriorAnswer(ProgressAnswer):
    """The posterior over the labels, best first, and what it rests on."""

    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"] = Field(
        description="Why the work ended: the schedule's end, one label left, those left close enough, the budget "
        "spent, or every timestep visited."
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
    """A posterior as it stands while the work goes on."""
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
