"""The backbone for zero-shot tasks, with the server's templates and temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from backbones.backbone import Backbone
from backbones.errors import InvalidInput
from heads.diffusion_classifier.anytime import Budget, parse_budget
from heads.diffusion_classifier.calibration import Calibration, ScoringMethod, open_calibration
from heads.task import BackboneHead, Limits

DEFAULT_TEMPLATE = "a photo of a {}."

Label = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Template = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{\}[^{}]*$", max_length=1000)]
BudgetText = Annotated[
    str, StringConstraints(pattern=r"^ *[0-9]+(\.[0-9]+)? *(rows|ms|milliseconds|s)? *$", max_length=40)
]
Templates = Annotated[list[Template], Field(min_length=1, max_length=100)]
BudgetChoice = Annotated[int, Field(ge=1, le=1_000_000_000)] | BudgetText
Temperature = Annotated[float, Field(ge=1e-6, le=1_000_000)]
Loss = Literal["l2", "l1", "huber"]


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShotModel(BackboneHead):
    """A backbone that classifies without training.

    templates: default prompts of requests. temperature: of posteriors for which no temperature was fitted.
    calibration: temperatures fitted to labelled images. max_rows: U-Net rows that one race may take.
    """

    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    temperature: float = 1.0
    calibration: Calibration | None = None
    max_rows: int | None = None

    def choose_temperature(self, method: ScoringMethod | None, temperature: float | None) -> tuple[float, bool]:
        """The temperature for answers of this method, and whether it was fitted.

        method: None for a method without fitted temperatures. temperature: the request's own, which takes precedence.
        """
        fits = self.calibration.fits if self.calibration is not None else ()
        fitted = next((fit.temperature for fit in fits if fit.way == method), None)
        chosen = temperature or fitted or self.temperature
        return chosen, chosen == fitted

    def limit_budget(self, budget: str | int | None) -> Budget:
        """A budget within the bound on rows of one request: a race that reaches it ends with the answer so far."""
        parsed = Budget() if budget is None else parse_budget(budget)
        if self.max_rows is None:
            return parsed
        return replace(parsed, rows=self.max_rows if parsed.rows is None else min(parsed.rows, self.max_rows))


def open_zero_shot(
    backbone: Backbone,
    weights: object = None,
    *,
    template: str = DEFAULT_TEMPLATE,
    temperature: float = 1.0,
    calibration: Path | None = None,
    max_rows: int | None = None,
) -> ZeroShotModel:
    """The backbone as a zero-shot classifier; a class-conditional network takes labels without a template.

    calibration: a file that `diffsight fit zero-shot` wrote. Raises InvalidInput if it was fitted on other weights.
    """
    description = backbone.description
    return ZeroShotModel(
        description,
        ("{}",) if description.class_conditional else (template,),
        temperature,
        open_calibration(calibration, description),
        max_rows,
    )


def check_label_counts(labels: Sequence[str], templates: Sequence[str], limits: Limits) -> int:
    """How many hypotheses there are. Raises InvalidInput for more than the limits allow."""
    if len(labels) > limits.max_labels:
        raise InvalidInput(
            "labels", f"{len(labels)} labels; one request takes {limits.max_labels}", hint="send fewer labels"
        )
    hypotheses = len(labels) * len(templates)
    if hypotheses > limits.max_prompts:
        raise InvalidInput(
            "templates",
            f"{len(labels)} labels in {len(templates)} templates make {hypotheses} prompts; "
            f"one request takes {limits.max_prompts}",
            hint="send fewer templates",
        )
    return hypotheses
