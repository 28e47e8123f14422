"""Images that `pocket` draws from text, and grids of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from training.autoencoder import images_of
from training.denoiser import Denoiser
from training.stock import AutoencoderKL, DDIMScheduler


@torch.no_grad()
def sample_images(
    autoencoder: AutoencoderKL,
    denoiser: Denoiser,
    scheduler: DDIMScheduler,
    contexts: Tensor,
    empty_context: Tensor,
    *,
    guidance: float,
    steps: int,
    seed: int,
) -> NDArray[np.uint8]:
    """One image for each context, by DDIM with classifier-free guidance.

    contexts: (B, T, D) float32. empty_context: (1, T, D), that of the empty prompt. Returns (B, H, W, 3) uint8 RGB.
    Source: DDIM (arXiv:2010.02502), equation 12; classifier-free guidance (arXiv:2207.12598), equation 6.
    """
    size = int(denoiser.unet.config.sample_size)
    shape = (len(contexts), int(denoiser.unet.config.in_channels), size, size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    both = torch.cat([empty_context.expand_as(contexts), contexts])
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        plain, prompted = denoiser.velocity(torch.cat([latents, latents]), timestep, both).chunk(2)
        latents = scheduler.step(plain + guidance * (prompted - plain), timestep, latents).prev_sample
    return images_of(autoencoder.decode(latents / autoencoder.config.scaling_factor).sample)


def save_grid(images: NDArray[np.uint8], columns: int, path: Path) -> None:
    """A PNG of 256 colours with the images row by row. images: (B, H, W, 3) uint8 RGB, B a multiple of `columns`."""
    _, height, width, _ = images.shape
    rows = images.reshape(-1, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    # 256 colours are a third of the bytes, and look almost the same here.
    PillowImage.fromarray(rows.reshape(-1, columns * width, 3)).quantize(256).save(path, optimize=True)
