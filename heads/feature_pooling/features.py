"""Pooled features of a frozen diffusion network: one vector an image."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from backbones.backbone import Description
from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.noise_schedule import add_noise, content_key, seeded_noise
from backbones.rows import Capture, Captures, UNetRow
from heads.feature_pooling.blocks import resolve_blocks
from heads.feature_pooling.pooling import pool
from heads.feature_pooling.preprocess import Fit, check_image, fit_image, pixel_values
from heads.results import Embeddings

NoiseSource = Callable[[bytes, int, Sequence[int]], Tensor]
"""Noise (C, h, w) float32 for an image's content key, a noise index and a shape; the same for the same arguments."""


async def pooled_features(
    engine: Engine,
    images: Sequence[NDArray[np.uint8]],
    *,
    blocks: Sequence[int | str] | None = None,
    timesteps: Sequence[int] = (100,),
    pool_size: int = 1,
    noise_samples: int = 1,
    normalise: bool = False,
    fit: Fit = "crop",
    class_labels: Sequence[int] | None = None,
    variant: str = "",
    noise: NoiseSource = seeded_noise,
) -> Embeddings:
    """Averages of the network's feature maps over each image, noised to `timesteps`: one vector an image.

    images: (H, W, 3) uint8 RGB each, of any sizes.
    blocks: numbers from 1, or diffusers names; None for the middle and the second block of the decoder's second level.
    Values come in the order of network depth, whatever the order of asking, as in the original.
    timesteps: each costs one pass an image and noise sample; their vectors follow each other in the order given.
    pool_size: maps are averaged over a pool_size x pool_size grid; a map that is smaller is repeated.
    noise_samples: pooled features are averaged over so many noises; 0 leaves the latents clean, for networks that were
    fine-tuned to take them so. Unlike in the original, one noise serves all timesteps, so the vector of a timestep does
    not depend on which others were asked for; and it is decided by the pixels, so the same image gets the same vector.
    normalise: scale each vector to length 1.
    class_labels: one an image, for networks with a class embedding only.
    Returns `Embeddings` with vectors (N, D).
    Raises InvalidInput for no images, unknown blocks, timesteps outside the schedule, and sizes that can not be.
    Source: arXiv:2307.08702, section 3; defaults for Stable Diffusion are ours.
    """
    backbone = engine.backbone
    names = resolve_blocks(blocks, backbone.sub_blocks)
    _check(backbone, images, timesteps, pool_size, noise_samples, class_labels)

    prepared = await asyncio.gather(
        *(engine.run_on_host(_prepared, image, backbone.image_size, fit) for image in images)
    )
    encoded = await engine.encode([pixels for pixels, _ in prepared])
    context = (await engine.embed([""]))[0] if backbone.max_tokens else None

    noises = await asyncio.gather(
        *(
            engine.run_on_host(_noises, noise, key, noise_samples, latent.shape)
            for latent, (_, key) in zip(encoded, prepared, strict=True)
        )
    )
    labels = [None] * len(images) if class_labels is None else class_labels

    def noised_rows() -> list[UNetRow]:
        capture = Capture(features=names)
        return [
            noised_row(backbone, scaled, drawn, timestep, context, capture, class_label=label, variant=variant)
            for latent, draws, label in zip(encoded, noises, labels, strict=True)
            for scaled in [latent * backbone.scaling_factor]
            for timestep in timesteps
            for drawn in draws
        ]

    rows = await engine.run(noised_rows)
    captures = await engine.unet(rows)
    vectors = await engine.run(_vectors, captures, names, len(images), len(timesteps), pool_size, normalise)
    return Embeddings(vectors, names, tuple(timesteps), pool_size)


def noised_row(
    backbone: Description,
    latents: Tensor,
    noise: Tensor | None,
    timestep: int,
    context: Tensor | None,
    capture: Capture,
    *,
    class_label: int | None = None,
    variant: str = "",
) -> UNetRow:
    """The row of one image, timestep and noise; without noise, of the clean latents.

    latents: (C, h, w), scaled. noise: (C, h, w), on any device. context: (T, D), None for networks without text.
    """
    noised = latents if noise is None else add_noise(latents, noise.to(latents), backbone.alphas_cumprod, timestep)
    return UNetRow(noised, timestep, context, capture, class_label=class_label, variant=variant)


def _prepared(image: NDArray[np.uint8], size: int, fit: Fit) -> tuple[Tensor, bytes]:
    """What the network sees of an image, (3, size, size) float32, and its content key."""
    pixels = pixel_values(fit_image(image, size, fit))
    return pixels, content_key(pixels)


def _noises(noise: NoiseSource, key: bytes, samples: int, shape: Sequence[int]) -> list[Tensor | None]:
    """An image's noises, or one None where its latents stay clean."""
    drawn: list[Tensor | None] = [noise(key, index, shape) for index in range(samples)]
    return drawn or [None]


@torch.no_grad()
def _vectors(
    captures: Sequence[Captures], names: Sequence[str], images: int, timesteps: int, pool_size: int, normalise: bool
) -> NDArray[np.float32]:
    """(images, timesteps x blocks x C x pool_size^2) float32 from captures ordered by image, timestep, then noise."""
    pooled = torch.stack([torch.cat([pool(got.features[name], pool_size) for name in names]) for got in captures])
    vectors = pooled.view(images, timesteps, -1, pooled.shape[1]).mean(dim=2).flatten(1)
    if normalise:
        vectors = functional.normalize(vectors, dim=1)
    array: NDArray[np.float32] = vectors.cpu().numpy()
    return array


def _check(
    backbone: Description,
    images: Sequence[NDArray[np.uint8]],
    timesteps: Sequence[int],
    pool_size: int,
    noise_samples: int,
    class_labels: Sequence[int] | None,
) -> None:
    if not images:
        raise InvalidInput("images", "no images", hint="send one at least")
    for image in images:
        check_image(image)
    if not timesteps:
        raise InvalidInput("timesteps", "no timesteps", hint="send one at least, such as 100")
    last = len(backbone.alphas_cumprod) - 1
    for timestep in timesteps:
        if not 0 <= timestep <= last:
            raise InvalidInput("timesteps", f"{timestep} is outside 0..{last}", hint="100 suits most images")
    largest = backbone.image_size // backbone.downscale
    if not 1 <= pool_size <= largest:
        raise InvalidInput("pool_size", f"{pool_size} is outside 1..{largest}", hint="1 and 2 suit most data")
    if noise_samples < 0:
        raise InvalidInput("noise_samples", f"{noise_samples}", hint="send 1 or more, or 0 for clean latents")
    if class_labels is None and backbone.num_class_labels:
        raise InvalidInput(
            "class_labels",
            f"the backbone {backbone.name!r} is class-conditional",
            hint=f"send a label for each image, 0 to {backbone.num_class_labels - 1}",
        )
    if class_labels is not None and len(class_labels) != len(images):
        raise InvalidInput("class_labels", f"{len(class_labels)} labels for {len(images)} images", hint="one each")
