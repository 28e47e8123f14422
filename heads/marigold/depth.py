"""The task `depth-relative`: depth up to scale and shift, and metres where the request brings known distances."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.inputs import InputCounts, Inputs
from heads.marigold.ensemble import Alignment, DepthReduction, ensemble_depth
from heads.marigold.metric import AffineFit, fit_map, fit_points, read_metric_map, to_metres
from heads.marigold.model import MarigoldModel, open_depth, shipped_depth
from heads.marigold.options import MarigoldOptions, check_uncertainty, complete_marigold, count_rows, describe_model
from heads.marigold.outputs import uncertainty_form, uncertainty_png
from heads.marigold.preprocess import resize_to_image
from heads.marigold.sampling import paint_image
from heads.outputs import METRES_PER_UNIT, UNITS_TEXT, depth_overlay, depth_picture, depth_png, npy_file, png_file
from heads.results import DepthMap
from heads.task import NPY, PNG, Form, Limits, Task, is_none

UNITS = 65535
"""Value of the farthest depth in 16-bit PNG where no metres are known."""
MOST_PUBLISHED = 10
"""Most members of the published alignment, the number of the published figures: its work grows with their cube."""

MeasuredPoint = Annotated[list[float], Field(min_length=3, max_length=3)]


@dataclass(frozen=True, slots=True, eq=False)
class RelativeDepth:
    """Depth of every pixel: 0 is the nearest and 1 the farthest of the picture.

    depth: (H, W) float32, 0..1. uncertainty: (H, W) float32 in the same unit, None of a single prediction.
    fit, metres: where distances are known, (H, W) float32, positive.
    """

    depth: NDArray[np.float32]
    uncertainty: NDArray[np.float32] | None
    fit: AffineFit | None = None
    metres: NDArray[np.float32] | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        """(H, W) float32: metres where they are known, else the relative depth."""
        return self.depth if self.metres is None else self.metres


class RelativeDepthOptions(MarigoldOptions):
    """Options of relative depth."""

    reduction: DepthReduction = Field(
        default="median", description="How the aligned predictions of an ensemble are combined."
    )
    alignment: Alignment = Field(
        default="stable",
        description="How the predictions of an ensemble are aligned before they are combined. Both ways "
        "minimise the published objective. `published` runs the code of diffusers, whose rounding can show in "
        "the map. `stable` does not depend on rounding, and is faster.",
    )
    points: list[MeasuredPoint] | None = Field(
        default=None,
        max_length=10_000,
        description="Known distances, each [x, y, metres] with x and y in pixels. The answer is then in "
        "metres, by the scale and shift that fit them best. Send at least two, at different depths.",
    )
    metric_map: str | None = Field(
        default=None,
        description="Known distances as a map: a 16-bit greyscale PNG in base64, of the image's size, in "
        "millimetres. 0 means unknown.",
    )


class DepthFigures(BaseModel):
    """Statistics of the depth map over all pixels: relative depth from 0 (near) to 1 (far), or metres if distances
    are known.
    """

    minimum: float
    maximum: float
    mean: float
    median: float
    percentile_5: float
    percentile_95: float


class MetricFit(BaseModel):
    """Conversion from relative depth to metres: scale * depth + shift."""

    scale: float
    shift: float
    residual: float = Field(description="Root mean square error in metres at the known distances.")
    count: int = Field(description="Number of known distances.")


class RelativeDepthResult(BaseModel):
    """Relative depth of one image."""

    statistics: DepthFigures
    unit: Literal["relative", "metre"] = Field(
        description="Unit of `statistics` and `png16`. `relative`: 0 is near, 1 is far. `metre` if distances are known."
    )
    per_unit: float = Field(description="Depth for each unit of `png16`, in `unit`.")
    fit: MetricFit | None = Field(
        default=None, exclude_if=is_none, description="How metres are computed, if the request has known distances."
    )
    png16: str | None = Field(
        default=None, exclude_if=is_none, description="The depth map as a 16-bit greyscale PNG in base64."
    )
    mean_uncertainty: float | None = Field(
        default=None,
        exclude_if=is_none,
        description="With an ensemble: mean spread of the predictions, in relative depth.",
    )
    uncertainty_png16: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="The spread of each pixel as a 16-bit greyscale PNG in base64; 65535 stands for 1.",
    )
    steps: int
    ensemble_size: int
    head: str


def depth_of(painted: Tensor) -> Tensor:
    """Depth (E, 1, h, w) float32, 0..1, of the network's pictures, (E, 3, h, w)."""
    return (painted.mean(dim=1, keepdim=True).clip(-1, 1) + 1) / 2


async def run_relative_depth(
    engine: Engine, model: MarigoldModel, inputs: Inputs, options: RelativeDepthOptions, on_progress: object = None
) -> RelativeDepth:
    """Depth of the image. Raises InvalidInput if the known distances do not fit it."""
    painted = await paint_image(engine, model, inputs.image, options)
    return await engine.run_on_host(combine_depth, painted, model, options, inputs.image.shape[:2])


def combine_depth(
    painted: Tensor, model: MarigoldModel, options: RelativeDepthOptions, size: tuple[int, int]
) -> RelativeDepth:
    """The result in the image's own (height, width) from the network's pictures, (E, 3, h, w) float32."""
    depth, spread = ensemble_depth(
        depth_of(painted),
        reduction=options.reduction,
        alignment=options.alignment,
        scale_invariant=model.scale_invariant,
        shift_invariant=model.shift_invariant,
    )
    restored = resize_to_image(depth, size)[0].numpy()
    uncertainty = None if spread is None else resize_to_image(spread, size)[0].numpy()
    fit: AffineFit | None = None
    if options.points is not None:
        fit = fit_points(restored, options.points)
    elif options.metric_map is not None:
        fit = fit_map(restored, read_metric_map(options.metric_map))
    return RelativeDepth(restored, uncertainty, fit, None if fit is None else to_metres(restored, fit))


def complete_relative_depth(
    options: RelativeDepthOptions, model: MarigoldModel, counts: InputCounts, limits: Limits
) -> RelativeDepthOptions:
    """The options with defaults filled in. Raises InvalidInput for conflicting options."""
    if options.points is not None and options.metric_map is not None:
        raise InvalidInput(
            "points", "the request has known distances both as points and as a map", hint="send one of the two"
        )
    if options.points is not None and len(options.points) < 2:
        hint = "send two at least, at different depths"
        raise InvalidInput("points", f"{len(options.points)} known distances", hint=hint)
    if options.metric_map is not None:
        read_metric_map(options.metric_map)
    if options.alignment == "published" and options.ensemble_size > MOST_PUBLISHED:
        raise InvalidInput(
            "alignment",
            f"the published alignment takes at most {MOST_PUBLISHED} predictions, not {options.ensemble_size}: "
            "more take minutes",
            hint="leave `alignment` out, or send a smaller `ensemble_size`",
        )
    return complete_marigold(options, model, counts, limits)


def relative_depth_png(result: RelativeDepth) -> bytes:
    """A 16-bit grey PNG: millimetres where metres are known, else 0 near to 65535 far. The scale is in its texts."""
    if result.metres is not None:
        return depth_png(_as_map(result))
    units = np.rint(result.depth * UNITS).astype(np.uint16)
    return png_file(Image.fromarray(units), {UNITS_TEXT: str(1 / UNITS)})


def answer_relative_depth(
    result: RelativeDepth, model: MarigoldModel, options: RelativeDepthOptions
) -> RelativeDepthResult:
    """The figures of a depth map, and the maps as files."""
    low, middle, high = np.percentile(result.values, (5, 50, 95)).tolist()
    figures = DepthFigures(
        minimum=float(result.values.min()),
        maximum=float(result.values.max()),
        mean=float(result.values.mean(dtype=np.float64)),
        median=middle,
        percentile_5=low,
        percentile_95=high,
    )
    fit, spread = result.fit, result.uncertainty
    shown = options.maps and options.uncertainty and spread is not None
    return RelativeDepthResult(
        statistics=figures,
        unit=_unit(result),
        per_unit=_per_unit(result),
        fit=None
        if fit is None
        else MetricFit(scale=fit.scale, shift=fit.shift, residual=fit.residual, count=fit.count),
        png16=base64.b64encode(relative_depth_png(result)).decode() if options.maps else None,
        mean_uncertainty=None if spread is None else float(spread.mean(dtype=np.float64)),
        uncertainty_png16=base64.b64encode(uncertainty_png(spread)).decode() if shown and spread is not None else None,
        steps=options.steps or model.steps,
        ensemble_size=options.ensemble_size,
        head=model.name,
    )


def relative_depth_line(result: RelativeDepth) -> str:
    """The range of a depth map, for people."""
    low, high = float(result.values.min()), float(result.values.max())
    middle = float(np.median(result.values))
    if result.metres is not None:
        return f"{low:.2f} to {high:.2f} m, median {middle:.2f} m"
    spread = "" if result.uncertainty is None else f", uncertainty {result.uncertainty.mean():.3f}"
    return f"relative depth {low:.2f} to {high:.2f}, median {middle:.2f}{spread}"


def _unit(result: RelativeDepth) -> Literal["relative", "metre"]:
    return "relative" if result.metres is None else "metre"


def _per_unit(result: RelativeDepth) -> float:
    return 1 / UNITS if result.metres is None else METRES_PER_UNIT


def _as_map(result: RelativeDepth) -> DepthMap:
    """The values for a picture of depth, which shows only their order and range."""
    return DepthMap(result.values, float(result.values.max()))


def _headers(result: RelativeDepth) -> Mapping[str, str]:
    return {"X-Depth-Unit": _unit(result)}


def _png_headers(result: RelativeDepth) -> Mapping[str, str]:
    return {**_headers(result), "X-Depth-Per-Unit": str(_per_unit(result))}


TASK = Task(
    name="depth-relative",
    summary="Estimate depth up to scale and shift, or metres from known distances",
    source="Marigold (arXiv:2312.02145)",
    inputs="image",
    options=RelativeDepthOptions,
    answer=RelativeDepthResult,
    open=open_depth,
    run=run_relative_depth,
    to_answer=answer_relative_depth,
    to_text=relative_depth_line,
    forms={
        "png16": Form(
            PNG,
            "greyscale, 0 (near) to 65535 (far), or millimetres if distances are known",
            write=lambda result, inputs, options: relative_depth_png(result),
            headers=_png_headers,
        ),
        "npy": Form(
            NPY,
            "float32, 0 (near) to 1 (far), or metres if distances are known",
            write=lambda result, inputs, options: npy_file(result.values),
            file_name="depth.npy",
            headers=_headers,
        ),
        "colour": Form(
            PNG,
            "a colour picture in which near is bright",
            write=lambda result, inputs, options: depth_picture(_as_map(result)),
            headers=_headers,
        ),
        "overlay": Form(
            PNG,
            "the same picture blended over the image",
            write=lambda result, inputs, options: depth_overlay(inputs.image, _as_map(result)),
            headers=_headers,
        ),
        "uncertainty_png16": uncertainty_form(check_uncertainty),
    },
    exports=frozenset({"png", "npy"}),
    complete=complete_relative_depth,
    estimate_rows=count_rows,
    describe=describe_model,
    example={"steps": 2, "ensemble_size": 3},
    curl="-F image=@room.jpg -F ensemble_size=5 -F format=colour -o depth.png",
    shipped=shipped_depth,
)
