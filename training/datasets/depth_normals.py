"""Surface normals of a depth map, for data that has depth but no normals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELD_OF_VIEW = 45.0
"""Degrees from the lower to the upper edge of the rendered world's pictures."""
_EDGE = 0.1
_FLAT = 0.002


def normals_of_depth(
    metres: NDArray[np.float32], field_of_view: float = FIELD_OF_VIEW
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Unit normals (H, W, 3) float32, x right, y up, z to the viewer, and where they are known, (H, W).

    metres: (H, W) float32, along the viewing axis, 0 if there is none; at least three rows and columns. field_of_view:
    degrees from the lower to the upper edge; the camera looks at the middle of the picture.

    A normal is the cross product of a pixel's steps to its neighbours. Along each axis the step is the mean of both
    steps on a flat surface, and else the step whose depth changes less, so that edges of things do not change normals.
    If depth jumps by more than a tenth on both sides, or is missing, the normal is unknown and points to the viewer.
    """
    height, width = metres.shape
    depth = metres.astype(np.float64)
    focal = height / 2 / math.tan(math.radians(field_of_view) / 2)
    columns = (np.arange(width) + 0.5 - width / 2) / focal
    rows = (np.arange(height) + 0.5 - height / 2)[:, None] / focal
    points = np.stack([columns * depth, -rows * depth, -depth], axis=2)
    valid = depth > 0
    across, known_across = _steps(points, depth, valid, axis=1)
    down, known_down = _steps(points, depth, valid, axis=0)
    vectors = np.cross(down, across)
    vectors *= np.where((vectors * points).sum(axis=2, keepdims=True) > 0, -1.0, 1.0)
    lengths = np.linalg.norm(vectors, axis=2)
    has_normal = valid & known_across & known_down & (lengths > 0)
    vectors = np.where(has_normal[..., None], vectors / np.where(has_normal, lengths, 1)[..., None], (0.0, 0.0, 1.0))
    return vectors.astype(np.float32), has_normal


def _steps(
    points: NDArray[np.float64], depth: NDArray[np.float64], valid: NDArray[np.bool_], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The step of each point (H, W, 3) to its neighbour along an axis, and where there is one, (H, W)."""
    gaps = np.diff(depth, axis=axis)
    ends = np.minimum(np.delete(depth, -1, axis), np.delete(depth, 0, axis))
    able = np.delete(valid, -1, axis) & np.delete(valid, 0, axis) & (np.abs(gaps) <= _EDGE * ends)
    steps = np.diff(points, axis=axis)
    forward, backward = ((0, 1), (1, 0))

    def pad(values: NDArray[Any], sides: tuple[int, int]) -> NDArray[Any]:
        widths = [(0, 0)] * values.ndim
        widths[axis] = sides
        return np.pad(values, widths)

    ahead, behind = pad(steps, forward), pad(steps, backward)
    can_ahead, can_behind = pad(able, forward).astype(bool), pad(able, backward).astype(bool)
    change_ahead = np.where(can_ahead, np.abs(pad(gaps, forward)), np.inf)
    change_behind = np.where(can_behind, np.abs(pad(gaps, backward)), np.inf)
    bend = np.abs(pad(gaps, forward) - pad(gaps, backward))
    flat = can_ahead & can_behind & (bend < _FLAT * depth)
    chosen = np.where((change_ahead <= change_behind)[..., None], ahead, behind)
    return np.where(flat[..., None], (ahead + behind) / 2, chosen), can_ahead | can_behind
