"""Masks from painted layers."""

from __future__ import annotations

import numpy as np
from PIL import Image

from playground.panels.supports import mask_of, png_of


def test_paint_of_any_layer_is_the_mask() -> None:
    layer = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    layer.paste((255, 59, 48, 255), (2, 1, 5, 4))
    inside = mask_of({"layers": [Image.new("RGBA", (8, 6)), layer]}, None, (8, 6))
    assert inside.shape == (6, 8)
    assert inside.sum() == 9


def test_a_mask_from_a_file_counts_where_nothing_is_painted() -> None:
    levels = np.zeros((6, 8), np.uint8)
    levels[0] = 1
    inside = mask_of({"layers": []}, Image.fromarray(levels), (8, 6))
    assert inside[0].all()
    assert inside.sum() == 8
    assert not mask_of({}, Image.fromarray(np.zeros((6, 8), np.uint8)), (8, 6)).any()


def test_examples_are_png_files() -> None:
    assert png_of(Image.new("RGB", (2, 2))).startswith(b"\x89PNG")
