"""The task `features`: pooled features of a frozen diffusion network, one vector an image."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor
from torch.nn import functional

from backbones.backbone import Backbone, Description
from backbones.engine import Engine
from backbones.errors import InvalidInput, ModelNotFound
from backbones.noise_schedule import add_noise, content_key, draw_noise
from backbones.rows import Capture, Captures, UNetRow
from heads.feature_pooling.blocks import resolve_blocks
from heads.feature_pooling.pooling import pool
from heads.feature_pooling.preprocess import Fit, check_image, fit_image, pixel_values
from heads.inputs import InputCounts, Inputs
from heads.outputs import npy_file
from heads.results import Embeddings
from heads.task import NPY, BackboneHead, Form, Limits, Options, Task, check_rows

NoiseSource = Callable[[bytes, int, Sequence[int]], Tensor]
"""Noise (C, h, w) float32 for an image's content key, a noise index and a shape; the same for the same arguments."""


async def pool_features(
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
    noise: NoiseSource = draw_noise,
) -> Embeddings:
    """Averages of the network's feature maps over each image, noised to `timesteps`: one vector an image.

    images: (H, W, 3) uint8 RGB each, of any sizes.
    blocks: numbers from 1, or diffusers names; None for the middle and the second block of the decoder's second level.
    Values are in the order of network depth, whatever the order of `blocks`, as in the original.
    timesteps: each costs one pass an image and noise sample; their vectors follow each other in the order given.
    pool_size: maps are averaged over a pool_size x pool_size grid; a map that is smaller is repeated.
    noise_samples: pooled features are averaged over so many noises; 0 leaves the latents clean, for networks that were
    fine-tuned to take them so. Unlike in the original, one noise serves all timesteps, so the vector of a timestep does
    not depend on the other timesteps; and the pixels decide the noise, so the same image gets the same vector.
    normalise: scale each vector to length 1.
    class_labels: one an image, for networks with a class embedding only.
    Returns `Embeddings` with vectors (N, D).
    Raises InvalidInput for no images, unknown blocks, timesteps outside the schedule, and sizes that cannot be.
    Source: arXiv:2307.08702, section 3; defaults for Stable Diffusion are ours.
    """
    backbone = engine.backbone
    names = resolve_blocks(blocks, backbone.sub_blocks)
    _check(backbone, images, timesteps, pool_size, noise_samples, class_labels)

    encoded, keys = await _encode(engine, images, fit)
    context = (await engine.embed([""]))[0] if backbone.max_tokens else None

    noises = await asyncio.gather(
        *(
            engine.run_on_host(_noises, noise, key, noise_samples, latent.shape)
            for latent, key in zip(encoded, keys, strict=True)
        )
    )
    labels = [None] * len(images) if class_labels is None else class_labels

    def make_noised_rows() -> list[UNetRow]:
        capture = Capture(features=names)
        return [
            make_noised_row(backbone, scaled, drawn, timestep, context, capture, class_label=label, variant=variant)
            for latent, draws, label in zip(encoded, noises, labels, strict=True)
            for scaled in [latent * backbone.scaling_factor]
            for timestep in timesteps
            for drawn in draws
        ]

    rows = await engine.run(make_noised_rows)
    captures = await engine.unet(rows)
    vectors = await engine.run(_vectors, captures, names, len(images), len(timesteps), pool_size, normalise)
    return Embeddings(vectors, names, tuple(timesteps), pool_size)


def make_noised_row(
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


async def _encode(
    engine: Engine, images: Sequence[NDArray[np.uint8]], fit: Fit
) -> tuple[Sequence[Tensor], list[bytes]]:
    """Latents (C, h, w) of images (H, W, 3) uint8 RGB, not scaled, and the content key of each."""
    size = engine.backbone.image_size
    prepared = await asyncio.gather(*(engine.run_on_host(_prepare, image, size, fit) for image in images))
    return await engine.encode([pixels for pixels, _ in prepared]), [key for _, key in prepared]


def _prepare(image: NDArray[np.uint8], size: int, fit: Fit) -> tuple[Tensor, bytes]:
    """The network's input for an image, (3, size, size) float32, and its content key."""
    pixels = pixel_values(fit_image(image, size, fit))
    return pixels, content_key(pixels)


def _noises(noise: NoiseSource, key: bytes, samples: int, shape: Sequence[int]) -> list[Tensor | None]:
    """An image's noises, or one None if its latents stay clean."""
    drawn: list[Tensor | None] = [noise(key, index, shape) for index in range(samples)]
    return drawn or [None]


@torch.no_grad()
def _vectors(
    captures: Sequence[Captures], names: Sequence[str], images: int, timesteps: int, pool_size: int, normalise: bool
) -> NDArray[np.float32]:
    """(images, timesteps x blocks x C x pool_size^2) float32 from captures ordered by image, timestep, then noise."""
    pooled = torch.stack(
        [torch.cat([pool(capture.features[name], pool_size) for name in names]) for capture in captures]
    )
    vectors = pooled.view(images, timesteps, -1, pooled.shape[1]).mean(dim=2).flatten(1)
    if normalise:
        vectors = functional.normalize(vectors, dim=1)
    array: NDArray[np.float32] = vectors.cpu().numpy()
    return array


def check_reading(backbone: Description, timesteps: Sequence[int], pool_size: int) -> None:
    """Raises InvalidInput for timesteps outside the backbone's schedule, and a grid finer than its largest map."""
    last = len(backbone.alphas_cumprod) - 1
    for timestep in timesteps:
        if not 0 <= timestep <= last:
            raise InvalidInput("timesteps", f"{timestep} is outside 0..{last}", hint="100 suits most images")
    largest = backbone.image_size // backbone.downscale
    if not 1 <= pool_size <= largest:
        raise InvalidInput("pool_size", f"{pool_size} is outside 1..{largest}", hint="1 and 2 suit most data")


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
    check_reading(backbone, timesteps, pool_size)
    if noise_samples < 0:
        raise InvalidInput("noise_samples", f"{noise_samples}", hint="send 1 or more, or 0 for clean latents")
    if class_labels is None and backbone.num_class_labels:
        raise InvalidInput(
            "class_labels",
            f"the backbone {backbone.name!r} is class-conditional",
            hint=f"send a label for each image, 0 to {backbone.num_class_labels - 1}",
        )
    if class_labels is not None and len(class_labels) != len(images):
        raise InvalidInput(
            "class_labels", f"{len(class_labels)} labels for {len(images)} images", hint="send one label for each image"
        )


ORDER = (
    "One vector an image, in the order sent. In a vector the timesteps follow each other as "
    "listed; within a timestep the blocks as listed; within a block its channels, each with its pool_size x "
    "pool_size averages row by row."
)


def _number_if_digits(value: Any) -> Any:
    # Forms and queries hold only texts, and no block's name is a number.
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else value


Block = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | Annotated[str, Field(min_length=1, max_length=200)],
    BeforeValidator(_number_if_digits),
]


class FeatureReading(Options):
    """What features are read from the network, for a request of vectors and for the examples of a classifier."""

    blocks: list[Block] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Blocks of the network to read: numbers from 1, or diffusers names such as "
        "`mid_block`. Unset: the middle block and one block of the decoder.",
    )
    timesteps: list[Annotated[int, Field(ge=0, le=100_000)]] = Field(
        default=[100],
        min_length=1,
        max_length=64,
        description="Timesteps of the noise schedule: how much noise is added. Each costs one U-Net row "
        "per image and noise sample.",
    )
    pool_size: int = Field(
        default=1, ge=1, le=64, description="Feature maps are averaged over a grid of `pool_size` x `pool_size` cells."
    )
    noise_samples: int = Field(
        default=1, ge=0, le=64, description="Number of noise samples to average over; 0 adds no noise."
    )
    fit: Fit = Field(
        default="crop",
        description="How an image is made square: crop the longer side, pad the shorter side, or squash.",
    )


class FeaturesOptions(FeatureReading):
    """Options of feature extraction."""

    normalise: bool = Field(default=False, description="Scale each vector to length 1.")


class FeaturesResult(BaseModel):
    """Feature vectors, with their layout."""

    vectors: list[list[float]] = Field(description=ORDER)
    dimension: int
    blocks: list[str]
    timesteps: list[int]
    pool_size: int
    order: str = Field(default=ORDER, description="Layout of a vector.")


def open_features(backbone: Backbone, weights: object = None) -> BackboneHead:
    """The backbone's own features. Raises ModelNotFound for a network whose blocks cannot be captured."""
    if not backbone.description.sub_blocks:
        raise ModelNotFound(
            f"the network {backbone.description.name!r} has no feature maps to pool",
            hint="use a Stable Diffusion backbone",
        )
    return BackboneHead(backbone.description)


async def run_features(
    engine: Engine, head: BackboneHead, inputs: Inputs, options: FeaturesOptions, on_progress: object = None
) -> Embeddings:
    """One vector an image."""
    return await pool_features(engine, inputs.arrays, **options.model_dump())


def feature_rows(options: FeaturesOptions, head: BackboneHead) -> int:
    """U-Net rows an image."""
    return len(options.timesteps) * max(1, options.noise_samples)


def check_feature_rows(images: int, timesteps: int, noise_samples: int, limits: Limits) -> None:
    """Raises InvalidInput for more U-Net rows than one request may take."""
    rows = images * timesteps * max(1, noise_samples)
    check_rows(rows, limits, "timesteps", "images, timesteps and noise_samples make", "send fewer of them")


def complete_features(
    options: FeaturesOptions, head: BackboneHead, counts: InputCounts, limits: Limits
) -> FeaturesOptions:
    """The options as they are. Raises InvalidInput for more rows than the limits allow."""
    check_feature_rows(counts.images, len(options.timesteps), options.noise_samples, limits)
    return options


def answer_features(embeddings: Embeddings, head: BackboneHead, options: FeaturesOptions) -> FeaturesResult:
    """The vectors as plain numbers."""
    return FeaturesResult(
        vectors=embeddings.vectors.tolist(),
        dimension=embeddings.vectors.shape[1],
        blocks=list(embeddings.blocks),
        timesteps=list(embeddings.timesteps),
        pool_size=embeddings.pool_size,
    )


def features_item(embeddings: Embeddings, head: BackboneHead, options: FeaturesOptions) -> dict[str, Any]:
    """A job's vector of one image."""
    return {
        "vector": embeddings.vectors[0].tolist(),
        "blocks": list(embeddings.blocks),
        "timesteps": list(embeddings.timesteps),
    }


def features_line(embeddings: Embeddings) -> str:
    """The size of a vector, for people."""
    return f"{embeddings.vectors.shape[1]} numbers of {', '.join(embeddings.blocks)}"


TASK = Task(
    name="features",
    summary="Extract feature vectors of images",
    source="Diffusion Models Beat GANs on Image Classification (arXiv:2307.08702)",
    inputs="images",
    options=FeaturesOptions,
    answer=FeaturesResult,
    open=open_features,
    run=run_features,
    to_answer=answer_features,
    to_text=features_line,
    to_item=features_item,
    forms={
        "npy": Form(
            NPY,
            "a float32 array of shape (images, dimension)",
            write=lambda embeddings, inputs, options: npy_file(embeddings.vectors),
            file_name="features.npy",
        )
    },
    complete=complete_features,
    estimate_rows=feature_rows,
    example={"timesteps": [100]},
    curl="-F image=@cat.jpg -F image=@dog.jpg -F pool_size=2",
)
