"""The pocket's VAE: what it is made of, its loss, and how well it gives images back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.datasets.captioned import CaptionedImages, Image
from training.loop import Draw
from training.stock import AutoencoderKL


def build_autoencoder(widths: Sequence[int], image_size: int) -> AutoencoderKL:
    """A fresh Stable Diffusion VAE: four levels, so 8 pixels a latent element, and 4 latent channels."""
    levels = len(widths)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=min(8, *widths),
        sample_size=image_size,
    )


def pixel_values(images: Sequence[Image]) -> Tensor:
    """images: (H, W, 3) uint8 RGB each. Returns (B, 3, H, W) float32, -1..1."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def images_of(pixels: Tensor) -> NDArray[np.uint8]:
    """pixels: (B, 3, H, W), -1..1, clipped. Returns (B, H, W, 3) uint8 RGB."""
    levels = pixels.detach().float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def autoencoder_losses(
    autoencoder: AutoencoderKL, images: CaptionedImages, *, batch: int, divergence_weight: float
) -> Callable[[Draw], dict[str, Tensor]]:
    """A function that draws a batch of augmented images and gives the VAE's loss on it.

    The loss is mean absolute error plus mean squared error in -1..1 units, plus `divergence_weight` times the mean
    Kullback-Leibler divergence of a latent element from the standard normal.
    """

    def losses(draw: Draw) -> dict[str, Tensor]:
        chosen = draw.numpy.integers(len(images), size=batch)
        pixels = pixel_values([images.augmented(int(index), draw.numpy) for index in chosen])
        posterior = autoencoder.encode(pixels).latent_dist
        rebuilt = autoencoder.decode(posterior.sample(draw.torch)).sample
        absolute, squared = functional.l1_loss(rebuilt, pixels), functional.mse_loss(rebuilt, pixels)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return {
            "loss": absolute + squared + divergence_weight * divergence,
            "squared": squared,
            "divergence": divergence,
        }

    return losses


@torch.no_grad()
def mean_latents(autoencoder: AutoencoderKL, images: Sequence[Image]) -> Tensor:
    """The mean of the VAE's posterior, unscaled: (B, 4, H / 8, W / 8) float32."""
    mean: Tensor = autoencoder.encode(pixel_values(images)).latent_dist.mean
    return mean


@torch.no_grad()
def rebuilt_images(autoencoder: AutoencoderKL, images: Sequence[Image]) -> NDArray[np.uint8]:
    """The images after the way through the latents (their mean, not a sample): (B, H, W, 3) uint8 RGB."""
    return images_of(autoencoder.decode(mean_latents(autoencoder, images)).sample)


def peak_signal_to_noise(images: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images, from the mean squared error over all of them.

    images, rebuilt: (B, H, W, 3) uint8. Equal images give infinity.
    """
    squared = np.square(images.astype(np.float64) - rebuilt.astype(np.float64)).mean()
    return float("inf") if squared == 0 else float(10.0 * np.log10(255.0**2 / squared))
