"""Handwritten digits from scikit-learn's `load_digits`, drawn at 128 x 128 pixels, with captions and a fixed split.

The 1,797 originals (8 x 8 pixels, 17 grey levels) are the test part of "Optical Recognition of Handwritten Digits"
(E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0). scikit-learn ships them: no network is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from training.datasets.captioned import Image

IMAGE_SIZE = 128
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASS_PROMPTS = tuple(f"a handwritten {name}" for name in DIGIT_NAMES)
HELD_OUT = 360

_SPLIT_SEED = 20260
_MARGIN = 1  # source pixels of empty paper around the 8 x 8 digit, so that a shifted digit is not cut off
_INK, _PAPER = 32.0, 240.0  # grey levels, 0..255


class Digits:
    """Some of the handwritten digits, as dark ink on light paper.

    originals: (N, 8, 8) uint8, 0 (paper) to 16 (full ink).
    labels: (N,) int64, 0..9.
    source_indices: (N,) int64, position of each in `load_digits`.
    """

    def __init__(
        self,
        name: str,
        originals: NDArray[np.uint8],
        labels: NDArray[np.int64],
        source_indices: NDArray[np.int64],
        image_size: int = IMAGE_SIZE,
    ) -> None:
        self.name = name
        self.labels = labels
        self.source_indices = source_indices
        self._size = image_size
        self._ink = np.pad(originals.astype(np.float32) / 16.0, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image:
        """The digit upright and centred, (S, S, 3) uint8 RGB."""
        rows, columns = _sampling_grid(self._size, np.eye(2), np.zeros(2), np.zeros((2, 4, 4)))
        return _draw(self._ink[index], rows, columns, weight=0.0, ink=_INK, paper=_PAPER)

    def augment(self, index: int, generator: np.random.Generator) -> Image:
        """The digit rotated, scaled, slanted, shifted and bent a little, with other ink, (S, S, 3) uint8 RGB.

        One in four is light ink on dark paper.
        """
        angle = np.deg2rad(generator.uniform(-12.0, 12.0))
        slant = generator.uniform(-0.15, 0.15)
        scale = generator.uniform(0.82, 1.12, size=2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1.0, slant], [0.0, 1.0]]) @ np.diag(1.0 / scale)
        shift = generator.uniform(-0.07, 0.07, size=2)
        bend = generator.normal(0.0, 0.018, size=(2, 4, 4))
        weight = generator.uniform(-0.12, 0.12)
        ink, paper = generator.uniform(8.0, 80.0), generator.uniform(190.0, 250.0)
        if generator.random() < 0.25:
            ink, paper = paper, ink
        rows, columns = _sampling_grid(self._size, matrix, shift, bend)
        return _draw(self._ink[index], rows, columns, weight=weight, ink=ink, paper=paper)

    def captions(self, index: int) -> Sequence[str]:
        """The sentences that describe the digit; zero-shot classification uses the first."""
        digit = int(self.labels[index])
        name = DIGIT_NAMES[digit]
        return (
            CLASS_PROMPTS[digit],
            f"a photo of a handwritten {name}",
            f"the digit {name}",
            f"a handwritten {digit}",
            name,
        )


def load_training_digits(image_size: int = IMAGE_SIZE) -> Digits:
    """The 1,437 digits of the training data, drawn at `image_size` pixels a side."""
    return _part("digits", _split()[0], image_size)


def load_held_out_digits(image_size: int = IMAGE_SIZE) -> Digits:
    """The 360 held-out digits, which no part of the training uses, 35 to 37 of each, drawn at `image_size` pixels a
    side.
    """
    return _part("digits-held-out", _split()[1], image_size)


@cache
def _split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    labels = load_digits().target
    training, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, random_state=_SPLIT_SEED, stratify=labels
    )
    return np.sort(training).astype(np.int64), np.sort(held_out).astype(np.int64)


def _part(name: str, indices: NDArray[np.int64], image_size: int) -> Digits:
    source = load_digits()
    labels = source.target[indices].astype(np.int64)
    return Digits(name, source.images[indices].astype(np.uint8), labels, indices, image_size)


def _sampling_grid(
    size: int, matrix: NDArray[np.float64], shift: NDArray[np.float64], bend: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The source position of each output pixel.

    matrix: (2, 2), acts on (column, row) offsets from the centre. shift: (2,), share of the side. bend: (2, 4, 4),
    displacements at a coarse grid, share of the side, interpolated smoothly.

    Returns rows and columns, (size, size) float32 each, in source pixels.
    """
    centred = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(centred, centred)
    across, down = (cv2.resize(displacement, (size, size), interpolation=cv2.INTER_CUBIC) for displacement in bend)
    side = 8 + 2 * _MARGIN
    columns = (matrix[0, 0] * x + matrix[0, 1] * y + shift[0] + across + 0.5) * side - 0.5
    rows = (matrix[1, 0] * x + matrix[1, 1] * y + shift[1] + down + 0.5) * side - 0.5
    return rows.astype(np.float32), columns.astype(np.float32)


def _draw(
    ink_share: NDArray[np.float32],
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    *,
    weight: float,
    ink: float,
    paper: float,
) -> Image:
    """The ink mask sampled at the grid, with sharpened strokes, painted in two grey levels.

    ink_share: (10, 10) float32, 0..1. rows, columns: (S, S) float32. weight: a value above 0 makes the pen broader.

    Returns (S, S, 3) uint8.
    """
    smooth = cv2.remap(
        ink_share, columns, rows, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=0.0
    )
    # Bicubic enlargement leaves soft blobs; a steep curve around half coverage turns them into pen strokes.
    stroke = 1.0 / (1.0 + np.exp(-10.0 * (smooth + weight - 0.5)))
    grey = np.clip(np.rint(paper + (ink - paper) * stroke), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
