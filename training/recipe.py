"""Every number that shapes the pocket."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop import Pace

_AUTOENCODER_PACE = Pace(steps=1300, batch=8, learning_rate=1e-3, warm_up=100, average_decay=0.998)
_DENOISER_PACE = Pace(steps=3500, batch=32, learning_rate=6e-4, warm_up=200, average_decay=0.998)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the networks and how they are trained. The defaults are those of the pocket in the package.

    component_images: how many images of each data set the encoder's principal components are computed from, at most.
    latent_noise: standard deviation of what is added to latents when the decoder learns.
    empty_prompts: share of captions replaced by "".
    contradicted: share of a step's rows that are shown again under a false sentence; contradiction_weight: of that
    term of the loss, supervision: of the terms that read exact labels from features.
    half: whether the U-Net trains in bfloat16 arithmetic, weights and losses in float32.
    """

    seed: int = 0
    image_size: int = 128
    latent_channels: int = 8
    component_images: int = 2000
    autoencoder_widths: tuple[int, ...] = (16, 32, 64, 64)
    latent_noise: float = 0.05
    autoencoder_pace: Pace = _AUTOENCODER_PACE
    tokens: int = 24
    text_width: int = 96
    text_layers: int = 2
    unet_widths: tuple[int, ...] = (64, 112, 112, 64)
    empty_prompts: float = 0.2
    contradicted: float = 0.375
    contradiction_weight: float = 0.3
    supervision: float = 0.1
    half: bool = True
    denoiser_pace: Pace = _DENOISER_PACE
