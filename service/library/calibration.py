"""Temperatures of zero-shot posteriors that were fitted to labelled images, and which answers they hold for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from backbones.backbone import Description
from backbones.errors import InvalidInput
from service.settings.loader import Settings

FIELD = "zero_shot_calibration"
# Logarithms: summed squared errors of a whole latent may ask for a temperature of many thousands.
_BOUNDS = (-7.0, 14.0)


class Way(BaseModel):
    """How a label was found. A temperature fitted to answers found in one way says nothing of those of another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: Literal["schedule", "race"]
    loss: Literal["l2", "l1", "huber"] = "l2"
    schedule: Literal["default", "published"] | None = None
    confidence: float | None = None
    combine: Literal["mean", "best_prompt"] | None = None


class TemperatureFit(BaseModel):
    """A temperature, and what it made of the labelled images. claimed: the mean probability of the answers.

    Where it fits, `claimed` is about `accuracy`. log_loss: of the true labels. The figures before are at temperature 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    way: Way
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


def fitted(way: Way, logits: NDArray[np.float64], truth: NDArray[np.int64], rows: float) -> TemperatureFit:
    """The temperature for answers found in one way.

    logits: (N, K) float64, of a posterior at temperature 1. truth: (N,) int64. rows: mean of an image.
    """
    from scipy.special import log_softmax

    from heads.calibration import fit_temperature

    temperature, _ = fit_temperature(logits, truth, bounds=_BOUNDS)

    def figures(divided_by: float) -> tuple[float, float]:
        logs = log_softmax(logits / divided_by, axis=1)
        return float(np.exp(logs.max(axis=1)).mean()), float(-logs[np.arange(len(truth)), truth].mean())

    (claimed, loss), (claimed_before, loss_before) = figures(temperature), figures(1.0)
    return TemperatureFit(
        way=way,
        temperature=temperature,
        accuracy=float((logits.argmax(axis=1) == truth).mean()),
        claimed=claimed,
        claimed_before=claimed_before,
        log_loss=loss,
        log_loss_before=loss_before,
        rows=rows,
    )


def read_calibration(settings: Settings) -> Calibration | None:
    """The file that the settings name; None where they name none. Raises InvalidInput for one that is no such file."""
    file = settings.zero_shot_calibration
    if file is None:
        return None
    return _read(file.expanduser())


def open_calibration(settings: Settings, backbone: Description) -> Calibration | None:
    """As `read_calibration`, and checked to have been fitted on this backbone. Raises InvalidInput where it was not."""
    found = read_calibration(settings)
    if found is not None and found.revision != backbone.revision:
        raise InvalidInput(
            FIELD,
            f"{settings.zero_shot_calibration} was fitted on {found.backbone!r} with weights {found.revision}; this is "
            f"{backbone.name!r} with {backbone.revision}",
            hint="fit it again with `diffsight fit zero-shot`, or unset it",
        )
    return found


def choose_temperature(
    settings: Settings, calibration: Calibration | None, way: Way | None, asked: float | None
) -> tuple[float, bool]:
    """The temperature of an answer found in this way, and whether it is the fitted one.

    asked: by the request. way: None for one that no temperature is fitted to.
    """
    fits = calibration.fits if calibration is not None else ()
    fit = next((one.temperature for one in fits if one.way == way), None)
    temperature = asked or fit or settings.zero_shot_temperature
    return temperature, temperature == fit


def _read(file: Path) -> Calibration:
    hint = "name a file that `diffsight fit zero-shot` wrote"
    try:
        return Calibration.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidInput(FIELD, f"{file} can not be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise InvalidInput(FIELD, f"{file} is no calibration: {place}: {first['msg']}", hint=hint) from error
