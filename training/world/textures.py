"""Textures of floors and walls, drawn with numpy: soft enough for 128 pixels, and different each time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 128
_WOOD, _CARPET = np.array([165.0, 118.0, 74.0]), np.array([150.0, 120.0, 130.0])


def floor_texture(kind: str, draw: np.random.Generator) -> bytes:
    """A square PNG for one of vocabulary.FLOORS."""
    if kind == "wooden":
        planks = np.repeat(draw.uniform(0.82, 1.1, size=8), _SIDE // 8)[None, :, None]
        grain = 1.0 + 0.05 * _cloud(draw, (4, 48))[..., None]
        picture = _WOOD * draw.uniform(0.7, 1.15) * planks * grain
    elif kind == "tiled":
        picture = np.ones((_SIDE, _SIDE, 3)) * draw.uniform(170, 225, size=3)
        picture[::32] = picture[:, ::32] = picture[1::32] = picture[:, 1::32] = 110.0
    elif kind == "checkered":
        squares = np.kron(np.indices((2, 2)).sum(axis=0) % 2, np.ones((_SIDE // 2, _SIDE // 2)))[..., None]
        light = draw.uniform(150, 215, size=3)
        picture = light * (1.0 - draw.uniform(0.25, 0.45) * squares)
    elif kind == "carpeted":
        picture = _CARPET * draw.uniform(0.6, 1.2, size=3) * (1.0 + 0.10 * _cloud(draw, (32, 32))[..., None])
    else:
        picture = np.ones((_SIDE, _SIDE, 3)) * draw.uniform(110, 170)
    return _png(picture)


def wall_texture(draw: np.random.Generator) -> bytes:
    """A square PNG: plain paint with faint clouds, or broad stripes of two near colours."""
    base = draw.uniform(140, 225) + draw.uniform(-25, 25, size=3)
    picture = base * (1.0 + 0.03 * _cloud(draw, (4, 4))[..., None])
    if draw.random() < 0.4:
        stripes = (np.arange(_SIDE) // 32 % 2)[None, :, None]
        picture = picture * (1.0 - 0.12 * stripes)
    return _png(picture)


def _cloud(draw: np.random.Generator, cells: tuple[int, int]) -> NDArray[np.float64]:
    """(128, 128), smooth noise of about unit spread with this many cells down and across."""
    coarse = draw.normal(size=cells)
    return cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC).astype(np.float64)


def _png(picture: NDArray[np.float64]) -> bytes:
    levels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return cv2.imencode(".png", cv2.cvtColor(levels, cv2.COLOR_RGB2BGR))[1].tobytes()
