"""Baselines for dense heads: guesses from the mean of a training set, or from a pixel's colour and position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from backbones.loading.weight_files import write_tensors
from heads.vpd.heads import DenseTask
from heads.vpd.metrics import IoUCounts, depth_figures, mean_figures, referring_figures

Baselines = Mapping[str, Tensor]
"""Baselines by name. mean: (H, W), metres, commonest class, or 1 where objects are most often. linear: (8, max(1,
classes)).
"""

_MASKED_SHARE = 0.1


def fit_baselines(
    task: DenseTask, images: Iterator[NDArray[np.uint8]], truths: Sequence[Tensor], classes: int = 0
) -> Baselines:
    """Both baselines from training examples; expressions have only the mean, because a linear model reads no text.

    images: (H, W, 3) uint8 RGB, as large as the truths; not read for referring. truths: (H, W) each, metres with 0
    where unknown, classes, or 0 and 1. classes: their number, for segmentation.
    """
    if task == "referring":
        mean = torch.stack([truth.float() for truth in truths]).mean(dim=0)
        least = mean.flatten().kthvalue(max(1, int(mean.numel() * (1 - _MASKED_SHARE)))).values
        return {"mean": (mean >= least).to(torch.uint8)}
    linear = linear_fit((pixel_inputs(image) for image in images), truths, classes)
    if task == "depth":
        counts = torch.stack([(truth > 0).float() for truth in truths]).sum(dim=0)
        mean = torch.stack(list(truths)).sum(dim=0) / counts.clamp_min(1)
        return {"mean": torch.where(counts > 0, mean, mean[counts > 0].mean()), "linear": linear}
    votes = torch.zeros(*truths[0].shape, classes)
    for truth in truths:
        votes += functional.one_hot(truth.long().clamp_max(classes), classes + 1)[..., :classes]
    return {"mean": votes.argmax(dim=-1).to(torch.uint8), "linear": linear}


def score_baselines(
    task: DenseTask,
    baselines: Baselines,
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[NDArray[np.generic]],
) -> dict[str, float]:
    """Main figures of the baselines, as `NAME_baseline_FIGURE`. images: (H, W, 3) uint8 RGB, truths: (H, W) each."""
    named_figures: dict[str, float] = {}
    for name in baselines:
        guesses = [_guess(task, baselines, name, image) for image in images]
        pairs = [(guess, torch.from_numpy(np.array(truth))) for guess, truth in zip(guesses, truths, strict=True)]
        figures: Mapping[str, float]
        if task == "depth":
            figures = mean_figures([depth_figures(prediction, truth, truth > 0) for prediction, truth in pairs])
        elif task == "segmentation":
            counts = IoUCounts.zeros(baselines["linear"].shape[1])
            for prediction, truth in pairs:
                counts.add(prediction.numpy(), truth.numpy())
            figures = counts.figures()
        else:
            masks = [(prediction == 1, truth == 1) for prediction, truth in pairs]
            figures = referring_figures([(int((a & b).sum()), int((a | b).sum())) for a, b in masks])
        kept = {"depth": ("abs_rel", "rmse", "d1"), "segmentation": ("miou",), "referring": ("oiou", "miou")}[task]
        named_figures |= {f"{name}_baseline_{figure}": figures[figure] for figure in kept}
    return named_figures


def _guess(task: DenseTask, baselines: Baselines, name: str, image: NDArray[np.uint8]) -> Tensor:
    """(H, W) for an image (H, W, 3)."""
    size = (image.shape[0], image.shape[1])
    if name == "mean":
        resized = functional.interpolate(baselines["mean"][None, None].float(), size, mode="nearest")[0, 0]
        return resized if task == "depth" else resized.to(torch.uint8)
    predicted = pixel_inputs(image) @ baselines["linear"]
    return (predicted[:, 0].clamp_min(0.01) if task == "depth" else predicted.argmax(dim=-1)).reshape(size)


def pixel_inputs(image: NDArray[np.uint8]) -> Tensor:
    """(H * W, 8) float32: red, green, blue, x, y, their squares, and 1, of an image (H, W, 3) uint8."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width)
    planes = [*(image[..., channel] / 255 for channel in range(3)), x, y, x * x, y * y, np.ones_like(x)]
    return torch.from_numpy(np.stack(planes, axis=-1).reshape(-1, 8).astype(np.float32))


def linear_fit(inputs: Iterator[Tensor], truths: Sequence[Tensor], classes: int) -> Tensor:
    """Least squares, (8, max(1, classes)): to metres, or to indicators of classes. inputs: (P, 8), truths: (H, W)."""
    gram, target = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, max(1, classes), dtype=torch.float64)
    for pixels, truth in zip(inputs, truths, strict=True):
        flat = truth.flatten()
        valid = (flat > 0) if not classes else (flat < classes)
        rows = pixels[valid].double()
        wanted = functional.one_hot(flat[valid].long(), classes) if classes else flat[valid, None]
        gram += rows.T @ rows
        target += rows.T @ wanted.double()
    weights: Tensor = torch.linalg.solve(gram + 1e-6 * torch.eye(8, dtype=torch.float64), target)
    return weights.float()


def save_baselines(file: Path, baselines: Baselines) -> None:
    """Writes them as safetensors."""
    write_tensors(baselines, file)


def load_baselines(file: Path) -> Baselines:
    """The baselines that `save_baselines` wrote. Raises FileNotFoundError if there are none."""
    return load_file(file)
