"""Normals of depth maps whose surfaces are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.datasets.depth_normals import normals_of_depth

SIDE, FIELD = 64, 45.0


def plane(normal: tuple[float, float, float], distance: float) -> NDArray[np.float32]:
    """Depth of the plane with this unit normal, so many metres before the camera along the middle of the picture."""
    focal = SIDE / 2 / math.tan(math.radians(FIELD) / 2)
    places = (np.arange(SIDE) + 0.5 - SIDE / 2) / focal
    slope = normal[2] - normal[0] * places[None, :] + normal[1] * places[:, None]
    return (normal[2] * distance / slope).astype(np.float32)


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.0, 0.8, 0.6), (-0.36, 0.48, 0.8), (0.6, 0.0, 0.8)])
def test_a_plane_has_one_normal(normal: tuple[float, float, float]) -> None:
    vectors, valid = normals_of_depth(plane(normal, 4.0), FIELD)
    assert valid.all()
    np.testing.assert_allclose(vectors, np.broadcast_to(normal, vectors.shape), atol=1e-4)


def test_millimetres_turn_a_normal_by_few_degrees() -> None:
    rounded = (np.rint(plane((0.0, 0.8, 0.6), 4.0) * 1000) / 1000).astype(np.float32)
    vectors, _ = normals_of_depth(rounded, FIELD)
    angles = np.degrees(np.arccos(np.clip(vectors @ np.array([0.0, 0.8, 0.6], np.float32), -1, 1)))
    assert angles.mean() < 2


def test_the_edge_of_a_thing_bends_no_normal_and_gaps_have_none() -> None:
    depth = np.full((SIDE, SIDE), 6.0, np.float32)
    depth[20:40, 20:40] = 3.0
    depth[50, 50] = 0.0
    depth[10, 10] = 2.0
    vectors, valid = normals_of_depth(depth, FIELD)
    assert not valid[50, 50]
    assert not valid[10, 10]
    assert valid.sum() == SIDE * SIDE - 2
    np.testing.assert_allclose(vectors, np.broadcast_to((0, 0, 1), vectors.shape), atol=1e-6)
