"""Images with masks of classes, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {1: (230, 40, 40), 2: (40, 230, 40), 3: (40, 40, 230)}


def draw_classes(image: Path, mask: Path, classes: tuple[int, ...], seed: int) -> None:
    """Bright squares, one a class, on noise: the image (48, 64) RGB, and its mask of class numbers."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (48, 64, 3), dtype=np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    for place, one in enumerate(classes):
        top, left = int(random.integers(0, 24)), 2 + 30 * place
        pixels[top : top + 20, left : left + 22] = COLOURS[(one - 1) % 3 + 1]
        labels[top : top + 20, left : left + 22] = one
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image, quality=95)
    Image.fromarray(labels).save(mask)
