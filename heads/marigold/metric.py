"""Convert affine-invariant depth to metres, by points or a map of known distances."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.errors import InvalidInput
from heads.outputs import METRES_PER_UNIT

LEAST_METRES = METRES_PER_UNIT
"""Least metres of a pixel: the smallest unit of a depth file."""

MOST_PIXELS = 1 << 26
"""Of a map of known distances, by its header."""

_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class AffineFit:
    """metres = scale * depth + shift. residual: root mean square error in metres at known points. count: of them."""

    scale: float
    shift: float
    residual: float
    count: int


def fit_points(depth: NDArray[np.float32], points: Sequence[Sequence[float]], field: str = "points") -> AffineFit:
    """The least-squares scale and shift from points with known metres.

    depth: (H, W) float32, 0..1. points: x and y in pixels of the image, and metres. The depth at a point is that of the
    pixel that it lies in. Raises InvalidInput for a point outside the image, and for points that fix no scale.
    """
    height, width = depth.shape
    for place, (x, y, _) in enumerate(points):
        if not (0 <= x < width and 0 <= y < height):
            raise InvalidInput(
                f"{field}.{place}",
                f"({x:g}, {y:g}) is outside the image of {width} x {height} pixels",
                hint="send x and y in pixels of the upright image, from 0, and metres",
            )
    columns, rows, metres = np.array(points, dtype=np.float64).T
    return fit_affine(depth[rows.astype(int), columns.astype(int)], metres, field)


def fit_map(depth: NDArray[np.float32], metres: NDArray[np.float32], field: str = "metric_map") -> AffineFit:
    """The least-squares scale and shift from a map of metres, where 0 is no measurement.

    depth, metres: (H, W) float32. Raises InvalidInput for a map of another size, and one that fixes no scale.
    """
    if metres.shape != depth.shape:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (metres.shape, depth.shape)]
        raise InvalidInput(
            field, f"the map is {sizes[0]} pixels, the image {sizes[1]}", hint="send a map of the upright image's size"
        )
    measured = metres > 0
    return fit_affine(depth[measured], metres[measured], field)


def fit_affine(depth: NDArray[np.floating], metres: NDArray[np.floating], field: str) -> AffineFit:
    """The least-squares scale and shift between values (N,) and metres (N,).

    Raises InvalidInput, about `field`, if there are fewer than two, all at the same depth, or far ones are nearer.
    """
    values, targets = depth.astype(np.float64), metres.astype(np.float64)
    if len(values) < 2:
        raise InvalidInput(field, f"{len(values)} known distances", hint="send two at least, at different depths")
    if np.ptp(values) < _LEAST_SPREAD:
        raise InvalidInput(
            field,
            "all known distances are at the same depth, so they determine no scale",
            hint="send near and far points",
        )
    scale, shift = least_squares(values, targets)
    if scale <= 0:
        raise InvalidInput(
            field,
            "these distances contradict the prediction: its nearer points are farther away",
            hint="check x, y and metres, or send more of them",
        )
    residual = float(np.sqrt(np.mean((scale * values + shift - targets) ** 2)))
    return AffineFit(scale, shift, residual, len(values))


def least_squares(values: NDArray[np.floating], metres: NDArray[np.floating]) -> tuple[float, float]:
    """Scale and shift with the least squared error of scale * values + shift to metres, (N,) each, in float64."""
    system = np.stack([values, np.ones_like(values)], axis=1, dtype=np.float64)
    (scale, shift), *_ = np.linalg.lstsq(system, metres.astype(np.float64), rcond=None)
    return float(scale), float(shift)


def to_metres(depth: NDArray[np.float32], fit: AffineFit) -> NDArray[np.float32]:
    """Metres (H, W) float32 of a depth map (H, W), at least `LEAST_METRES`."""
    metres: NDArray[np.float32] = np.maximum(fit.scale * depth + fit.shift, LEAST_METRES).astype(np.float32)
    return metres


def read_metric_map(text: str, field: str = "metric_map") -> NDArray[np.float32]:
    """Metres (H, W) float32, 0 if nothing is known, from base64 of a 16-bit grey PNG file of millimetres.

    Raises InvalidInput for anything else.
    """
    hint = "send base64 of a 16-bit grey PNG file of millimetres, 0 where nothing is known"
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            if not image.mode.startswith("I"):
                raise InvalidInput(field, f"the map has pixels of mode {image.mode}", hint=hint)
            if image.width * image.height > MOST_PIXELS:
                raise InvalidInput(field, f"the map has {image.width} x {image.height} pixels", hint=hint)
            image.load()
            values = np.array(image)
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(field, f"the map cannot be read: {error}", hint=hint) from error
    return values.astype(np.float32) * np.float32(METRES_PER_UNIT)
