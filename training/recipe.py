"""All hyperparameters of `pocket`."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop import StageSettings

_AUTOENCODER_PACE = StageSettings(steps=1300, batch=8, learning_rate=1e-3, warm_up=100, average_decay=0.998)
_DENOISER_PACE = StageSettings(steps=5000, batch=32, learning_rate=6e-4, warm_up=200, average_decay=0.998)


@dataclass(frozen=True, slots=True)
class Emphasis:
    """The rows that the U-Net sees in a step.

    shares: of the rows from each data set, in order. contradicted: share of the rows that are repeated under a false
    sentence. relation_weight: how much more often a relation is exchanged than a colour.
    """

    shares: tuple[float, ...]
    contradicted: float
    relation_weight: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the networks and the parameters of their training. The defaults are those of the `pocket` in the
    package.

    component_images: maximum number of images of each data set, in order, for the encoder's principal components. Few
    of them are digits, which need less detail than scenes. latent_noise: standard deviation of the noise on latents
    when the decoder learns. empty_prompts: share of captions replaced by "". early, late: before and from the step
    `late_from` on. Digits and relations are learnt last, with contradictions: once the network reads nouns, they get
    most of the weight. contradiction_weight: of the loss's term about false sentences; supervision: of the terms that
    read exact labels from features. half: whether the U-Net trains in bfloat16 arithmetic; weights and losses are
    float32.
    """

    seed: int = 0
    image_size: int = 128
    latent_channels: int = 8
    component_images: tuple[int, ...] = (2000, 180)
    autoencoder_widths: tuple[int, ...] = (16, 32, 64, 64)
    latent_noise: float = 0.05
    autoencoder_pace: StageSettings = _AUTOENCODER_PACE
    tokens: int = 24
    text_width: int = 96
    text_layers: int = 2
    unet_widths: tuple[int, ...] = (64, 112, 112, 64)
    empty_prompts: float = 0.15
    early: Emphasis = Emphasis(shares=(0.7, 0.3), contradicted=0.3125, relation_weight=3)
    late: Emphasis = Emphasis(shares=(0.5, 0.5), contradicted=0.5, relation_weight=9)
    late_from: int = 3600
    contradiction_weight: float = 0.3
    supervision: float = 0.1
    half: bool = True
    denoiser_pace: StageSettings = _DENOISER_PACE
