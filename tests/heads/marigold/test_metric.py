"""Scale and shift from known distances, and distances that determine neither."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backbones.errors import InvalidInput
from heads.marigold.metric import LEAST_METRES, fit_map, fit_points, read_metric_map, to_metres

DEPTH = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


def grey16(values: NDArray[Any]) -> str:
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_two_points_fix_scale_and_shift() -> None:
    fit = fit_points(DEPTH, [[0, 0, 1.0], [3.9, 2.5, 5.0]])
    assert (fit.scale, fit.shift, fit.residual, fit.count) == pytest.approx((4, 1, 0, 2))
    np.testing.assert_allclose(to_metres(DEPTH, fit), 4 * DEPTH + 1, rtol=1e-6)


def test_more_points_fit_best_and_metres_stay_positive() -> None:
    fit = fit_points(DEPTH, [[0, 0, 0.1], [3, 2, 3.0], [0, 1, 0.6]])
    assert fit.residual > 0
    assert to_metres(DEPTH, fit_points(DEPTH, [[1, 0, 0.001], [3, 2, 3.0]])).min() == np.float32(LEAST_METRES)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0, 0, 1], [4, 0, 2]], "outside the image"),
        ([[0, 0, 1], [-1, 0, 2]], "outside the image"),
        ([[1, 1, 1], [1, 1, 2]], "same depth"),
        ([[0, 0, 5], [3, 2, 1]], "nearer"),
    ],
)
def test_points_that_fix_nothing_are_refused(points: list[list[float]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        fit_points(DEPTH, points)


def test_a_map_fits_where_it_knows_something() -> None:
    millimetres = np.rint((2 * DEPTH + 1) * 1000).astype(np.uint16)
    millimetres[1] = 0
    metres = read_metric_map(grey16(millimetres))
    fit = fit_map(DEPTH, metres)
    assert (fit.scale, fit.shift, fit.count) == pytest.approx((2, 1, 8), abs=1e-3)
    with pytest.raises(InvalidInput, match="2 x 3 pixels"):
        fit_map(DEPTH, metres[:, :2])
    with pytest.raises(InvalidInput, match="0 known distances"):
        fit_map(DEPTH, np.zeros_like(metres))


@pytest.mark.parametrize(
    "text", ["%%%", base64.b64encode(b"no picture").decode(), grey16(np.zeros((3, 4, 3), np.uint8))]
)
def test_an_invalid_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="the map"):
        read_metric_map(text)
