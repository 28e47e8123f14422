"""Lossless shapes: outlines fill to their masks, depth is scaled."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.protocols.roboflow_answers import Choice, _outlines, nearness


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=80, deadline=None)
def test_outlines_fill_to_the_mask_with_its_holes(mask: np.ndarray) -> None:
    filled = np.zeros(mask.shape, np.uint8)
    for box, points in _outlines(mask):
        assert len(points) >= 3
        corners = np.array([[point["x"], point["y"]] for point in points])
        assert (corners.min(axis=0) == box[:2]).all()
        assert (corners.max(axis=0) + 1 == np.add(box[:2], box[2:])).all()
        cv2.fillPoly(filled, [corners.astype(np.int32)], 1)
    # Pixels without a path of free pixels to the outside are inside.
    framed = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    _, parts = cv2.connectedComponents(framed, connectivity=4)
    outside = (parts == parts[0, 0])[1:-1, 1:-1]
    assert (filled.astype(bool) == ~outside).all()


def test_the_nearest_pixel_is_one_and_the_farthest_zero() -> None:
    near = nearness(np.array([[1.0, 2.0, 4.0]], np.float32))
    assert near.tolist() == [[1.0, pytest.approx(1 / 3), 0.0]]
    assert nearness(np.full((2, 2), 3.0, np.float32)).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_predictions_are_kept_by_confidence_class_and_number() -> None:
    predictions = [{"confidence": score, "class": name} for score, name in ((0.9, "a"), (0.8, "b"), (0.2, "a"))]
    assert Choice().keep(predictions) == predictions
    assert Choice(confidence=0.5, classes=["a"]).keep(predictions) == predictions[:1]
    assert Choice(most=2).keep(predictions) == predictions[:2]
