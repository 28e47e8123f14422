"""Encode normals and uncertainty for clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heads.outputs import png_file
from heads.task import PNG, Form

_FULL = 65535


def uncertainty_png(uncertainty: NDArray[np.float32]) -> bytes:
    """A 16-bit grey PNG of a spread (H, W) float32: 65535 is 1, and more than 1 is written as 1."""
    return png_file(Image.fromarray(np.rint(np.clip(uncertainty, 0, 1) * _FULL).astype(np.uint16)))


def uncertainty_form(check: Callable[[Any, Any], None]) -> Form:
    """The form of the uncertainty map. check: refuses requests that have none."""
    return Form(
        PNG,
        "16-bit greyscale map of how much the predictions of an ensemble differ, where 65535 stands for 1",
        write=lambda result, inputs, options: uncertainty_png(result.uncertainty),
        check=check,
    )


def normals_colours(normals: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of unit vectors (H, W, 3): -1 is 0 and 1 is 255; what faces the viewer is light blue."""
    colours: NDArray[np.uint8] = np.rint((np.clip(normals, -1, 1) + 1) * 127.5).astype(np.uint8)
    return colours


def normals_picture(normals: NDArray[np.float32]) -> bytes:
    """The colours of `normals_colours` of vectors (H, W, 3) as a PNG file."""
    return png_file(Image.fromarray(normals_colours(normals)), {"normals": "x right, y up, z to the viewer"})


def normals_overlay(image: NDArray[np.uint8], normals: NDArray[np.float32]) -> bytes:
    """The image (H, W, 3) uint8 under half-transparent colours of normals (H, W, 3), as a PNG file."""
    blended = cv2.addWeighted(image, 0.35, normals_colours(normals), 0.65, 0)
    return png_file(Image.fromarray(np.asarray(blended, dtype=np.uint8)))
