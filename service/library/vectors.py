"""Vectors of many images: a few images are decoded at a time, and vectors are cached for later requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.engine import Engine
from backbones.noise_schedule import content_key
from heads.feature_pooling.features import pool_features
from heads.inputs import DecodedImage
from service.engine.caches import TensorCache
from service.inputs.decoding import Decoder
from service.inputs.images import count_pixels
from service.library.classifiers import FeatureOptions
from service.threads import BULK_DECODING, run_in

AT_ONCE = 32
_PARTS_AT_ONCE = 2
_PART_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """vectors: (N, D) float32. keys: (N, 16) uint8, of the pixels."""

    vectors: NDArray[np.float32]
    keys: NDArray[np.uint8]


async def vectors_of_files(
    engine: Engine,
    cache: TensorCache,
    files: Sequence[bytes],
    names: Sequence[str],
    options: FeatureOptions,
    decoder: Decoder,
) -> Vectors:
    """Vectors of image files, in order. names: of the files in problems.

    While one part is on the device the next one is decoded; no more pictures than that are in memory.
    Raises InvalidInput for a file that cannot be decoded, and whatever the engine raises.
    """
    slots = asyncio.Semaphore(_PARTS_AT_ONCE)

    async def part(at: slice) -> Vectors:
        async with slots, decoder.decoded(files[at], names[at], bulk=True) as images:
            return await vectors_of_images(engine, cache, images, options)

    pixels = await run_in(BULK_DECODING, lambda: [count_pixels(data) for data in files])
    try:
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(part(at)) for at in cut_parts(pixels)]
    except BaseExceptionGroup as failed:
        # The error of one image is raised unchanged; the other parts are cancelled.
        raise failed.exceptions[0] from None
    return join_vectors([task.result() for task in parts])


def cut_parts(pixels: Sequence[int]) -> Iterator[slice]:
    """The places of images that are decoded together, so that they fit into memory."""
    start, held = 0, 0
    for place, image_pixels in enumerate(pixels):
        if place > start and (place - start == AT_ONCE or held + image_pixels > _PART_PIXELS):
            yield slice(start, place)
            start, held = place, 0
        held += image_pixels
    yield slice(start, len(pixels))


def join_vectors(parts: Sequence[Vectors]) -> Vectors:
    """The vectors (N, D) and keys (N, 16) of several parts, in their order."""
    return Vectors(np.concatenate([part.vectors for part in parts]), np.concatenate([part.keys for part in parts]))


async def vectors_of_images(
    engine: Engine, cache: TensorCache, images: Sequence[DecodedImage], options: FeatureOptions
) -> Vectors:
    """Vectors of decoded images, in order; cached vectors cost nothing."""
    keys = [await engine.run_on_host(_key, image.array) for image in images]
    places = [(engine.backbone.revision, key, options.model_dump_json()) for key in keys]
    cached = {place: vector for place in places if (vector := cache.get(place)) is not None}
    missing = {place: image for place, image in zip(places, images, strict=True) if place not in cached}
    if missing:
        embeddings = await pool_features(engine, [image.array for image in missing.values()], **options.model_dump())
        for place, vector in zip(missing, torch.from_numpy(embeddings.vectors), strict=True):
            cached[place] = vector
            cache.put(place, vector)
    vectors = torch.stack([cached[place] for place in places]).numpy()
    return Vectors(vectors, np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16))


def _key(image: NDArray[np.uint8]) -> bytes:
    """The key of a picture's pixels, (H, W, 3) uint8."""
    return content_key(torch.from_numpy(image))
