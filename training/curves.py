"""Loss logs as CSV, and a picture of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class LossLog:
    """A CSV file with one line for each step. Lines from `start` on, which a killed run may have left, are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        self._waiting: list[dict[str, float]] = []
        self._recent: list[float] = []
        if path.exists():
            kept = [line for line in _lines(path) if int(line["step"]) < start]
            path.unlink()
            self._write(kept)

    def add(self, step: int, terms: Mapping[str, float]) -> None:
        """Adds the loss terms of a step; `flush` writes them to the file."""
        self._waiting.append({"step": step, **terms})
        self._recent = [*self._recent[-199:], terms["loss"]]

    def mean_recent(self) -> float:
        """Mean loss of the last 200 steps."""
        return float(np.mean(self._recent)) if self._recent else float("nan")

    def flush(self) -> None:
        """Writes the terms that were added since the last call."""
        self._write([{name: f"{value:.6g}" for name, value in line.items()} for line in self._waiting])
        self._waiting = []

    def _write(self, lines: Sequence[Mapping[str, str]]) -> None:
        if not lines:
            return
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(lines[0]))
            if new:
                writer.writeheader()
            writer.writerows(lines)


def read_losses(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and losses of a log, (N,) each."""
    lines = _lines(path)
    return np.array([int(line["step"]) for line in lines]), np.array([float(line["loss"]) for line in lines])


def draw_losses(logs: Mapping[str, Path], picture: Path) -> None:
    """A PNG with one panel for each log: the loss of each step, faint, and its running mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(logs), 3.2), layout="constrained")
    for axes, (title, path) in zip(figure.subplots(1, len(logs), squeeze=False)[0], logs.items(), strict=True):
        steps, losses = read_losses(path)
        axes.plot(steps, losses, color="#b9c7d8", linewidth=0.5)
        window = max(1, len(losses) // 50)
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], mean, color="#1f4e79", label=f"mean of {window} steps")
        axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
        axes.set_ylim(float(mean.min()) * 0.7, float(np.quantile(losses, 0.98)) * 1.2)
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def draw_curves(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Loss and the main figure by epoch, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    main = next((name for name in ("abs_rel", "oiou", "miou") if name in history[0]), "loss")
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), constrained_layout=True)
    for axis, name in zip(axes, ("loss", main), strict=True):
        axis.plot([epoch["epoch"] for epoch in history], [epoch[name] for epoch in history], marker=".")
        axis.set(xlabel="epoch", title=name)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
