"""Measure which block, timestep and pooling suit labelled images, by cross-validation, and draw the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from backbones.files import replacing
from diffsight.cli.labelled_folder import examples_of, read_blocks
from heads.feature_pooling.blocks import resolve_blocks
from heads.feature_pooling.logistic import fit_logistic
from service.library.classifiers import FeatureOptions, LabelledVectors, join_examples
from service.settings.loader import Settings

# Fewer than in a fit: neighbouring strengths hardly differ, and a sweep fits many times.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
MOST_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One setting and its cross-validated figures."""

    blocks: tuple[str, ...]
    timestep: int
    pool_size: int
    accuracy: float
    log_loss: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def sweep_blocks(chosen: Sequence[str] | None, sub_blocks: Sequence[str]) -> tuple[str, ...]:
    """The blocks to measure, in order of depth: the chosen ones, else the middle block and the decoder."""
    if chosen:
        return read_blocks(chosen, sub_blocks)
    decoder = [name for name in sub_blocks if name.startswith("up_blocks.") and name.count(".") == 3]
    attended = [name for name in decoder if ".attentions." in name]
    plain = [name for name in decoder if ".resnets." in name and name.replace("resnets", "attentions") not in attended]
    return resolve_blocks(["mid_block", *plain, *attended], sub_blocks)


def measure(
    engine: DirectEngine,
    files: Sequence[tuple[Path, str]],
    blocks: Sequence[str],
    timestep: int,
    pool_size: int,
    settings: Settings,
) -> list[SweepPoint]:
    """A point for each block alone, and for the best blocks together while that lowers the log loss; one pass an image.

    Raises InvalidInput for images that cannot be read, and if no class has two images.
    """
    options = FeatureOptions(
        blocks=tuple(blocks), timesteps=(timestep,), pool_size=pool_size, noise_samples=1, fit="crop"
    )
    examples, _ = join_examples(None, examples_of(engine, files, options, settings))
    parts = _by_block(engine, files, options, examples, settings)
    points = [_point(parts, examples, (name,), options) for name in blocks]
    best = min(points, key=lambda point: point.log_loss)
    for _ in range(MOST_BLOCKS - 1):
        others = [name for name in blocks if name not in best.blocks]
        nexts = [
            _point(parts, examples, tuple(name for name in blocks if name in (*best.blocks, other)), options)
            for other in others
        ]
        if not nexts or min(point.log_loss for point in nexts) >= best.log_loss:
            break
        best = min(nexts, key=lambda point: point.log_loss)
        points.append(best)
    return points


def recommend(points: Sequence[SweepPoint]) -> SweepPoint:
    """The point with the lowest log loss, which differs even where accuracies are equal."""
    return min(points, key=lambda point: point.log_loss)


def draw(file: Path, points: Sequence[SweepPoint], best: SweepPoint) -> None:
    """A picture with a table of accuracies for each pooling: blocks are rows, timesteps are columns, the best setting
    is framed.
    """
    alone = [point for point in points if len(point.blocks) == 1]
    blocks = list(dict.fromkeys(point.blocks[0] for point in alone))
    steps = sorted({point.timestep for point in alone})
    sizes = sorted({point.pool_size for point in alone})
    lowest, highest = min(point.accuracy for point in alone), max(point.accuracy for point in alone)
    cell, row, left, top = 64, 26, 210, 48
    panel = left + cell * len(steps) + 20
    sheet = Image.new("RGB", (max(panel * len(sizes), 640), top + row * len(blocks) + 46), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for place, size in enumerate(sizes):
        x = place * panel
        pen.text((x + 8, 8), f"held-out accuracy, pool_size {size}", fill="black", font=font)
        for column, step in enumerate(steps):
            pen.text((x + left + column * cell + 8, top - 20), f"t {step}", fill="black", font=font)
        for line, block in enumerate(blocks):
            pen.text((x + 8, top + line * row + 4), block, fill="black", font=font)
    for point in alone:
        x = sizes.index(point.pool_size) * panel + left + steps.index(point.timestep) * cell
        y = top + blocks.index(point.blocks[0]) * row
        share = (point.accuracy - lowest) / max(highest - lowest, 1e-9)
        chosen = (point.timestep, point.pool_size) == (best.timestep, best.pool_size) and point.blocks[0] in best.blocks
        colour = (round(255 - 175 * share), round(255 - 95 * share), round(255 - 155 * share))
        edge = (200, 40, 40) if chosen else (220, 220, 220)
        pen.rectangle((x, y, x + cell - 3, y + row - 3), fill=colour, outline=edge, width=3 if chosen else 1)
        pen.text((x + 14, y + 4), f"{point.accuracy:.3f}", fill="black", font=font)
    caption = f"best: {', '.join(best.blocks)}, t {best.timestep}, pool_size {best.pool_size}: {best.accuracy:.3f}"
    pen.text((8, sheet.height - 28), caption, fill=(200, 40, 40), font=font)
    try:
        with replacing(file) as opened:
            sheet.save(opened, "PNG")
    except OSError as error:
        raise InvalidInput("--out", f"{file} can not be written: {error.strerror}", hint="name another file") from error


def _by_block(
    engine: DirectEngine,
    files: Sequence[tuple[Path, str]],
    options: FeatureOptions,
    examples: LabelledVectors,
    settings: Settings,
) -> dict[str, NDArray[np.float32]]:
    """The columns of each block, counted by running one image block by block."""
    widths = [
        examples_of(engine, files[:1], options.model_copy(update={"blocks": (name,)}), settings).vectors.shape[1]
        for name in options.blocks
    ]
    columns = np.split(examples.vectors, np.cumsum(widths)[:-1], axis=1)
    return dict(zip(options.blocks, columns, strict=True))


def _point(
    parts: dict[str, NDArray[np.float32]], examples: LabelledVectors, blocks: tuple[str, ...], options: FeatureOptions
) -> SweepPoint:
    classes = sorted(set(examples.labels))
    labels = np.array([classes.index(label) for label in examples.labels], dtype=np.int64)
    vectors = np.concatenate([parts[name] for name in blocks], axis=1)
    _, report = fit_logistic(vectors, labels, classes, strengths=STRENGTHS)
    if report.accuracy is None or report.log_loss is None:
        raise InvalidInput("FOLDER", "no class has two images", hint="a sweep needs images to hold out: add some")
    return SweepPoint(blocks, options.timesteps[0], options.pool_size, report.accuracy, report.log_loss)
