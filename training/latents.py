"""Latents of many augmented views of a data set, computed once: the U-Net's training never waits for the VAE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from training.autoencoder import pixel_values
from training.datasets.captioned import CaptionedImages
from training.loop import draw_for
from training.stock import AutoencoderKL


@dataclass(frozen=True, slots=True)
class LatentViews:
    """The VAE's posteriors, unscaled.

    mean, spread: (N, V, 4, h, w) float32; view 0 is the image as it is, the others are augmented; spread is the
    posterior's standard deviation.
    """

    mean: Tensor
    spread: Tensor

    def scaling_factor(self) -> float:
        """One over the standard deviation of all sampled latents: scaled by it, they have unit variance."""
        variance = self.mean.var() + self.spread.square().mean()
        return round(float(variance.rsqrt()), 5)


@torch.no_grad()
def encoded_views(
    autoencoder: AutoencoderKL, images: CaptionedImages, path: Path, *, views: int, seed: int
) -> LatentViews:
    """The posteriors of `views` views of every image, read from `path` if there, else computed and kept there."""
    if not path.exists():
        means, spreads = [], []
        for index in tqdm(range(len(images)), desc="latents", mininterval=5.0):
            draw = draw_for(seed, "latents", index)
            shown = [images.image(index), *(images.augmented(index, draw.numpy) for _ in range(views - 1))]
            posterior = autoencoder.encode(pixel_values(shown)).latent_dist
            means.append(posterior.mean.contiguous())
            spreads.append(posterior.std.contiguous())
        beside = path.with_name(path.name + ".new")
        save_file({"mean": torch.stack(means), "spread": torch.stack(spreads)}, beside)
        beside.replace(path)
    tensors = load_file(path)
    return LatentViews(tensors["mean"], tensors["spread"])
