"""The pictures of `diffsight demo`, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backbones.files import replacing

_INK, _PAPER, _GOOD, _BAD, _BAR = (30, 30, 30), (255, 255, 255), (30, 130, 60), (200, 40, 40), (90, 130, 200)


class Answered(Protocol):
    """labels: (N,) int, the truth. posteriors: (N, K) float, rows summing to 1."""

    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def posteriors(self) -> NDArray[np.float64]: ...


def posteriors(
    file: Path, images: Sequence[NDArray[np.uint8]], answered: Answered, names: Sequence[str], most: int = 40
) -> None:
    """Images beside their three likeliest labels as bars: wrong answers first, in red.

    images: (H, W, 3) uint8 RGB each. most: how many are drawn.
    """
    right = answered.posteriors.argmax(axis=1) == answered.labels
    order = sorted(range(len(images)), key=lambda index: bool(right[index]))[:most]
    columns, width, height = 4, 250, 84
    sheet = Image.new("RGB", (columns * width, -(-len(order) // columns) * height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for place, index in enumerate(order):
        x, y = place % columns * width + 8, place // columns * height + 8
        sheet.paste(Image.fromarray(images[index]).resize((68, 68)), (x, y))
        for line, label in enumerate(answered.posteriors[index].argsort()[::-1][:3].tolist()):
            probability = float(answered.posteriors[index][label])
            colour = _BAR if line else (_GOOD if right[index] else _BAD)
            top = y + 4 + line * 22
            draw.rectangle((x + 78, top, x + 78 + max(1, round(60 * probability)), top + 14), fill=colour)
            draw.text((x + 144, top - 1), f"{names[label]} {probability:.2f}", fill=_INK, font=font)
    _save(sheet, file)


def confusion(file: Path, labels: NDArray[np.int64], answers: NDArray[np.int64], names: Sequence[str]) -> None:
    """A table of true label (row) against answer (column), darker for more.

    labels, answers: (N,) int, indices into `names`.
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (labels, answers), 1)
    cell, left, top = 46, 96, 40
    sheet = Image.new("RGB", (left + cell * len(names) + 10, top + cell * len(names) + 10), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    draw.text((8, 20), "true \\ answer", fill=_INK, font=font)
    for row, name in enumerate(names):
        draw.text((8, top + row * cell + 14), name, fill=_INK, font=font)
        draw.text((left + row * cell + 4, top - 18), name, fill=_INK, font=font)
        for column in range(len(names)):
            share = counts[row, column] / max(1, counts[row].sum())
            red, green, blue = _GOOD if row == column else _BAD
            fill = tuple(round(255 - (255 - level) * share) for level in (red, green, blue))
            x, y = left + column * cell, top + row * cell
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill, outline=(220, 220, 220))
            if counts[row, column]:
                ink = _PAPER if share > 0.5 else _INK
                draw.text((x + 14, y + 14), str(counts[row, column]), fill=ink, font=font)
    _save(sheet, file)


def add_caption(file: Path, rows: Sequence[Sequence[tuple[str, NDArray[np.uint8]]]], side: int = 176) -> None:
    """Images with captions above them. rows: captions and images (H, W, 3) uint8 RGB, which are shown `side` wide."""
    columns, gap, line = max(len(row) for row in rows), 6, 18
    sheet = Image.new("RGB", (columns * (side + gap) + gap, len(rows) * (side + line + gap) + gap), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for down, row in enumerate(rows):
        for across, (caption, image) in enumerate(row):
            x, y = gap + across * (side + gap), gap + down * (side + line + gap)
            while caption and font.getlength(caption) > side:
                caption = caption[:-1]
            draw.text((x, y), caption, fill=_INK, font=font)
            sheet.paste(Image.fromarray(image).resize((side, side)), (x, y + line))
    _save(sheet, file)


def _save(sheet: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as opened:
        sheet.save(opened, "PNG")
