"""Options of all of Marigold's predictions, and their checks."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field

from backbones.errors import InvalidInput
from heads.inputs import InputCounts
from heads.marigold.model import MarigoldModel
from heads.marigold.preprocess import MAX_SIDE
from heads.task import Limits, Options


class MarigoldOptions(Options):
    """How a prediction is denoised."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="Number of denoising steps. Unset: the model's own, which is 1 to 10 for the published models.",
    )
    ensemble_size: int = Field(
        default=1,
        ge=1,
        le=20,
        description="Number of predictions from different noise that are combined; the published figures "
        "use 10. More predictions are slower and vary less. Two or more also give an uncertainty.",
    )
    resolution: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SIDE,
        description="Longer side in pixels at which the network runs, a multiple of 8. 0 is the image's "
        "own size. Unset: the model's own, 768 as published.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Seed of the noise, together with the image's content. The same request always has the "
        "same answer.",
    )
    uncertainty: bool = Field(
        default=False,
        description="Include a map of how much the predictions differ. Needs an `ensemble_size` of at least 2.",
    )
    maps: bool = Field(
        default=True,
        description="Include the maps in the JSON answer, which takes some bytes for each pixel. If false, "
        "the answer holds figures alone.",
    )


AnyOptions = TypeVar("AnyOptions", bound=MarigoldOptions)


def complete_marigold(options: AnyOptions, model: MarigoldModel, counts: InputCounts, limits: Limits) -> AnyOptions:
    """The options with the model's own steps and resolution filled in.

    Raises InvalidInput for options that the model does not allow.
    """
    multiple = model.backbone.downscale
    if options.resolution is not None and options.resolution % multiple:
        message = f"{options.resolution} is not a multiple of {multiple}"
        nearest = round(options.resolution / multiple) * multiple
        raise InvalidInput("resolution", message, hint=f"send {nearest}, or 0 for the image's own size")
    if model.noise == "zeros" and options.ensemble_size > 1:
        raise InvalidInput(
            "ensemble_size",
            f"{model.name} uses no noise, so all its predictions of an image are the same",
            hint="leave `ensemble_size` out",
        )
    if options.uncertainty and options.ensemble_size == 1:
        raise InvalidInput(
            "uncertainty", "a single prediction has no uncertainty", hint="send an `ensemble_size` of 2 or more"
        )
    filled = {"steps": options.steps or model.steps}
    if options.resolution is None:
        filled["resolution"] = model.resolution
    return options.model_copy(update=filled)


def count_rows(options: MarigoldOptions, model: MarigoldModel) -> int:
    """U-Net rows of an image."""
    return (options.steps or model.steps) * options.ensemble_size


def check_uncertainty(options: MarigoldOptions, model: MarigoldModel) -> None:
    """Raises InvalidInput if the uncertainty map of a single prediction is requested."""
    if options.ensemble_size == 1:
        raise InvalidInput(
            "format", "a single prediction has no uncertainty", hint="send an `ensemble_size` of 2 or more"
        )


def describe_model(model: MarigoldModel) -> dict[str, object]:
    """Properties of the model for clients."""
    return {
        "head": model.name,
        "steps": model.steps,
        "resolution": model.resolution,
        "scheduler": model.scheduler_class,
        "noise": model.noise,
    }
