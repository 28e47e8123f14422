"""The task `normals`: the direction that the surface at every pixel faces."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor

from backbones.engine import Engine
from heads.inputs import InputCounts, Inputs
from heads.marigold.ensemble import NormalsReduction, ensemble_normals, unit_vectors
from heads.marigold.model import MarigoldModel, open_normals, shipped_normals
from heads.marigold.options import MarigoldOptions, check_uncertainty, complete_marigold, count_rows, describe_model
from heads.marigold.outputs import normals_overlay, normals_picture, uncertainty_form, uncertainty_png
from heads.marigold.preprocess import resize_to_image
from heads.marigold.sampling import paint_image
from heads.outputs import npy_file
from heads.task import NPY, PNG, Form, Limits, Task, is_none


@dataclass(frozen=True, slots=True, eq=False)
class Normals:
    """Surface normals as the camera sees them.

    vectors: (H, W, 3) float32, unit length: x right, y up, z to the viewer. uncertainty: (H, W) float32, mean angle to
    the mean of the predictions as a share of a half turn, None of a single one.
    """

    vectors: NDArray[np.float32]
    uncertainty: NDArray[np.float32] | None


class NormalsOptions(MarigoldOptions):
    """Options of surface normals."""

    reduction: NormalsReduction = Field(
        default="closest",
        description="How the predictions of an ensemble are combined: at each pixel the prediction closest "
        "to their mean (`closest`), or the mean (`mean`).",
    )


class NormalsResult(BaseModel):
    """Surface normals of one image."""

    mean: list[float] = Field(description="Mean normal over all pixels: x points right, y up, z to the viewer.")
    png: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="The normals as an 8-bit RGB PNG in base64. A component is 2 * value / 255 - 1.",
    )
    mean_uncertainty: float | None = Field(
        default=None,
        exclude_if=is_none,
        description="With an ensemble: mean angle between the predictions and their mean, as a fraction of "
        "180 degrees.",
    )
    uncertainty_png16: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="The uncertainty of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1.",
    )
    steps: int
    ensemble_size: int
    head: str


def vectors_of(painted: Tensor, *, full_z: bool) -> Tensor:
    """Unit vectors (E, 3, h, w) float32 from the network's pictures, (E, 3, h, w).

    full_z: whether the network gives the whole range of z; else its -1..1 stand for 0..1, which face the viewer.
    """
    clipped = painted.clip(-1, 1)
    if not full_z:
        clipped = clipped * clipped.new_tensor([1, 1, 0.5]).view(3, 1, 1) + clipped.new_tensor([0, 0, 0.5]).view(
            3, 1, 1
        )
    return unit_vectors(clipped)


async def run_normals(
    engine: Engine, model: MarigoldModel, inputs: Inputs, options: NormalsOptions, on_progress: object = None
) -> Normals:
    """Normals of the image."""
    painted = await paint_image(engine, model, inputs.image, options)
    return await engine.run_on_host(combine_normals, painted, model, options, inputs.image.shape[:2])


def combine_normals(painted: Tensor, model: MarigoldModel, options: NormalsOptions, size: tuple[int, int]) -> Normals:
    """The result in the image's own (height, width) from the network's pictures, (E, 3, h, w) float32."""
    vectors, spread = ensemble_normals(vectors_of(painted, full_z=model.full_z), reduction=options.reduction)
    restored = unit_vectors(resize_to_image(vectors, size)).permute(1, 2, 0).contiguous().numpy()
    return Normals(restored, None if spread is None else resize_to_image(spread, size)[0].numpy())


def complete_normals(
    options: NormalsOptions, model: MarigoldModel, counts: InputCounts, limits: Limits
) -> NormalsOptions:
    """The options with defaults filled in. Raises InvalidInput for options that the model does not allow."""
    return complete_marigold(options, model, counts, limits)


def answer_normals(result: Normals, model: MarigoldModel, options: NormalsOptions) -> NormalsResult:
    """The figures of a map of normals, and the maps as files."""
    spread = result.uncertainty
    shown = options.maps and options.uncertainty and spread is not None
    return NormalsResult(
        mean=result.vectors.mean(axis=(0, 1), dtype=np.float64).tolist(),
        png=base64.b64encode(normals_picture(result.vectors)).decode() if options.maps else None,
        mean_uncertainty=None if spread is None else float(spread.mean(dtype=np.float64)),
        uncertainty_png16=base64.b64encode(uncertainty_png(spread)).decode() if shown and spread is not None else None,
        steps=options.steps or model.steps,
        ensemble_size=options.ensemble_size,
        head=model.name,
    )


def normals_line(result: Normals) -> str:
    """The mean direction, for people."""
    x, y, z = result.vectors.mean(axis=(0, 1)).tolist()
    return f"mean normal x {x:.2f}, y {y:.2f}, z {z:.2f}"


TASK = Task(
    name="normals",
    summary="Estimate surface normals",
    source="Marigold (arXiv:2505.09358)",
    inputs="image",
    options=NormalsOptions,
    answer=NormalsResult,
    open=open_normals,
    run=run_normals,
    to_answer=answer_normals,
    to_text=normals_line,
    forms={
        "png": Form(
            PNG,
            "RGB, x is red, y is green, z is blue, scaled from -1..1 to 0..255",
            write=lambda result, inputs, options: normals_picture(result.vectors),
        ),
        "npy": Form(
            NPY,
            "float32 unit vectors of shape (height, width, 3): x points right, y up, z to the viewer",
            write=lambda result, inputs, options: npy_file(result.vectors),
            file_name="normals.npy",
        ),
        "overlay": Form(
            PNG,
            "the same colours blended over the image",
            write=lambda result, inputs, options: normals_overlay(inputs.image, result.vectors),
        ),
        "uncertainty_png16": uncertainty_form(check_uncertainty),
    },
    exports=frozenset({"png", "npy"}),
    complete=complete_normals,
    estimate_rows=count_rows,
    describe=describe_model,
    example={"steps": 2, "ensemble_size": 3},
    curl="-F image=@room.jpg -F format=png -o normals.png",
    shipped=shipped_normals,
)
