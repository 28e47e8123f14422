"""Normals and uncertainty as pictures."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from heads.marigold.outputs import normals_colours, normals_overlay, uncertainty_png


def test_directions_are_colours() -> None:
    vectors = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, -1]]], dtype=np.float32)
    assert normals_colours(vectors).tolist() == [[[255, 128, 128], [128, 255, 128], [128, 128, 0]]]


def test_uncertainty_is_cut_at_one() -> None:
    with Image.open(BytesIO(uncertainty_png(np.array([[0, 0.5, 3]], dtype=np.float32)))) as file:
        assert np.array(file).tolist() == [[0, 32768, 65535]]


def test_an_overlay_has_the_images_size() -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    vectors = np.zeros((4, 6, 3), np.float32)
    with Image.open(BytesIO(normals_overlay(image, vectors))) as file:
        assert file.size == (6, 4)
