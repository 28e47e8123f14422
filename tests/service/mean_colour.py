"""A task outside the product: the mean colour of an image. This file is the whole task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from backbones.backbone import Backbone
from backbones.engine import Engine
from heads.inputs import Inputs
from heads.outputs import png_file
from heads.task import PNG, Form, Options, Task


class MeanColourOptions(Options):
    """How finely the colour is rounded."""

    levels: int = Field(default=256, ge=2, le=256, description="Steps that each channel is rounded to.")


class MeanColourResult(BaseModel):
    """The mean of each channel, 0 to 1."""

    red: float
    green: float
    blue: float


@dataclass(frozen=True, slots=True)
class MeanColourHead:
    """A head with a name alone: the mean needs no weights."""

    name: str = "mean"
    revision: str = "1"


def open_mean_colour(backbone: Backbone, weights: object = None) -> MeanColourHead:
    """The same head over every backbone."""
    return MeanColourHead()


def mean_colour(image: NDArray[np.uint8], levels: int) -> NDArray[np.float64]:
    """The mean of an image (H, W, 3) uint8 as (3,) float64, each channel rounded to so many steps of 0 to 1."""
    mean: NDArray[np.float64] = image.mean(axis=(0, 1)) / 255
    return np.rint(mean * (levels - 1)) / (levels - 1)


async def run_mean_colour(
    engine: Engine, head: MeanColourHead, inputs: Inputs, options: MeanColourOptions, on_progress: object = None
) -> NDArray[np.float64]:
    """(3,) float64, 0 to 1."""
    return await engine.run_on_host(mean_colour, inputs.image, options.levels)


def answer_mean_colour(
    colour: NDArray[np.float64], head: MeanColourHead, options: MeanColourOptions
) -> MeanColourResult:
    """The three numbers of a colour (3,)."""
    red, green, blue = colour.tolist()
    return MeanColourResult(red=red, green=green, blue=blue)


def mean_colour_line(colour: NDArray[np.float64]) -> str:
    """A colour (3,) as people write it."""
    return "#" + "".join(f"{value:02x}" for value in np.rint(colour * 255).astype(int).tolist())


def swatch(colour: NDArray[np.float64], inputs: Inputs, options: MeanColourOptions) -> bytes:
    """A PNG file of the image's size, all of it in the colour (3,)."""
    pixels = np.empty_like(inputs.image)
    pixels[:] = np.rint(colour * 255).astype(np.uint8)
    return png_file(Image.fromarray(pixels))


MEAN_COLOUR = Task(
    name="mean-colour",
    summary="The mean colour of an image",
    source="arithmetic",
    inputs="image",
    options=MeanColourOptions,
    answer=MeanColourResult,
    open=open_mean_colour,
    run=run_mean_colour,
    to_answer=answer_mean_colour,
    to_text=mean_colour_line,
    forms={"png": Form(PNG, "a plain swatch of the colour", write=swatch)},
)
