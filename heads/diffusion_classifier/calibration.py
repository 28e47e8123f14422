"""Temperatures of zero-shot posteriors, fitted to labelled images, and the options that each applies to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from scipy.special import log_softmax

from backbones.backbone import Description
from backbones.errors import InvalidInput
from heads.calibration import fit_temperature

FIELD = "zero_shot_calibration"
# Logarithms: squared errors summed over a whole latent may need a temperature of many thousands.
_BOUNDS = (-7.0, 14.0)


class ScoringMethod(BaseModel):
    """The options that an answer was computed with. A temperature applies only to answers with the same options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: Literal["schedule", "race"]
    loss: Literal["l2", "l1", "huber"] = "l2"
    schedule: Literal["default", "published"] | None = None
    confidence: float | None = None
    combine: Literal["mean", "best_prompt"] | None = None


class TemperatureFit(BaseModel):
    """A temperature with its figures on labelled images. claimed: the mean probability of the answers.

    If the fit is good, `claimed` is about `accuracy`. log_loss: of the true labels. The figures before are at
    temperature 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    way: ScoringMethod
    temperature: float = Field(gt=0)
    accuracy: float
    claimed: float
    claimed_before: float
    log_loss: float
    log_loss_before: float
    rows: float = Field(description="U-Net rows, mean of an image.")


class Calibration(BaseModel):
    """What `diffsight fit zero-shot` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    created: AwareDatetime
    backbone: str
    revision: str = Field(description="Digest of the backbone's weights.")
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    images: int = Field(ge=1)
    fits: tuple[TemperatureFit, ...] = Field(min_length=1)


def fit_temperature_of(
    method: ScoringMethod, logits: NDArray[np.float64], truth: NDArray[np.int64], rows: float
) -> TemperatureFit:
    """The temperature for answers of one method.

    logits: (N, K) float64, of a posterior at temperature 1. truth: (N,) int64. rows: mean of an image.
    """
    temperature, _ = fit_temperature(logits, truth, bounds=_BOUNDS)

    def figures(divided_by: float) -> tuple[float, float]:
        logs = log_softmax(logits / divided_by, axis=1)
        return float(np.exp(logs.max(axis=1)).mean()), float(-logs[np.arange(len(truth)), truth].mean())

    (claimed, loss), (claimed_before, loss_before) = figures(temperature), figures(1.0)
    return TemperatureFit(
        way=method,
        temperature=temperature,
        accuracy=float((logits.argmax(axis=1) == truth).mean()),
        claimed=claimed,
        claimed_before=claimed_before,
        log_loss=loss,
        log_loss_before=loss_before,
        rows=rows,
    )


def read_calibration(file: Path) -> Calibration:
    """The calibration in a file. Raises InvalidInput for one that cannot be read or holds something else."""
    hint = "name a file that `diffsight fit zero-shot` wrote"
    try:
        return Calibration.model_validate_json(file.expanduser().read_bytes())
    except OSError as error:
        raise InvalidInput(FIELD, f"{file} cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise InvalidInput(FIELD, f"{file} is no calibration: {place}: {first['msg']}", hint=hint) from error


def open_calibration(file: Path | None, backbone: Description) -> Calibration | None:
    """The calibration in a file, which was fitted on this backbone; None without a file.

    Raises what `read_calibration` raises, and InvalidInput for one that was fitted on other weights.
    """
    if file is None:
        return None
    calibration = read_calibration(file)
    if calibration.revision != backbone.revision:
        raise InvalidInput(
            FIELD,
            f"{file} was fitted on {calibration.backbone!r} with weights {calibration.revision}; this is "
            f"{backbone.name!r} with {backbone.revision}",
            hint="fit it again with `diffsight fit zero-shot`, or unset it",
        )
    return calibration
