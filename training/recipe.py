"""Every number that shapes the pocket."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop import Pace

_AUTOENCODER_PACE = Pace(steps=2400, batch=32, learning_rate=1e-3, warm_up=100, average_decay=0.998)
_DENOISER_PACE = Pace(steps=5000, batch=64, learning_rate=1e-3, warm_up=200, average_decay=0.999)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the networks and how they are trained. The defaults are those of the pocket in the package.

    views: how many augmented variations of each image the denoiser is trained on; the first is the image as it is.
    empty_prompts: share of captions replaced by "".
    divergence_weight: of the VAE's Kullback-Leibler term, per latent element, against errors in -1..1 units.
    """

    seed: int = 0
    image_size: int = 64
    autoencoder_widths: tuple[int, ...] = (16, 32, 64, 64)
    divergence_weight: float = 1e-3
    autoencoder_pace: Pace = _AUTOENCODER_PACE
    tokens: int = 32
    text_width: int = 96
    text_layers: int = 2
    unet_widths: tuple[int, ...] = (48, 64, 64, 64)
    views: int = 32
    empty_prompts: float = 0.12
    denoiser_pace: Pace = _DENOISER_PACE
