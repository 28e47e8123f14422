"""The training data of the denoiser in memory: latents of every view, true sentences, exact labels on their grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from backbones.files import replacing
from training.autoencoder import pixel_values
from training.datasets.captioned import CaptionedImages, CaptionSource
from training.datasets.world import WorldImages
from training.loop import Draw, draw_for
from training.principal import PATCH, Components, patch_latents
from training.world.mannequin import KEYPOINTS

NO_LABEL = 255


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Exact labels of a world's scenes on the latents' grid; a data set without such labels has NO_LABEL and 0.

    semantic: (M, h, w) uint8, the commonest value of a patch. depth: (M, h, w) float32, metres, mean of the patch, 0
    where unknown. heatmaps: (M, 17, h, w) uint8, 255 at a visible keypoint of a person, falling off around it.
    """

    semantic: Tensor
    depth: Tensor
    heatmaps: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TrainingExamples:
    """A data set's views. latents: (M, C, h, w) float32, unscaled. captions: M lists of true sentences."""

    latents: Tensor
    captions: Sequence[Sequence[str]]
    labels: Labels


def encode_examples(components: Components, source: CaptionSource, path: Path, *, seed: int) -> TrainingExamples:
    """The examples of a data set. Latents are read from `path`, or computed and stored there."""
    images, views = source.images, source.views
    if not path.exists():
        latents = []
        for index in tqdm(range(len(images)), desc=f"latents of {images.name}", mininterval=5.0):
            generator = draw_for(seed, images.name, index).numpy
            shown = [images.image(index), *(images.augment(index, generator) for _ in range(views - 1))]
            latents.append(patch_latents(components, pixel_values(shown)))
        with replacing(path) as file:
            torch.save(torch.cat(latents), file)
    read: Tensor = torch.load(path, weights_only=True)
    captions = [images.captions(index) for index in range(len(images)) for _ in range(views)]
    return TrainingExamples(read, captions, labels_of(images, len(read), read.shape[-1]))


def labels_of(images: CaptionedImages, count: int, size: int) -> Labels:
    """Labels on a grid of `size` for `count` examples."""
    semantic = np.full((count, size, size), NO_LABEL, dtype=np.uint8)
    depth = np.zeros((count, size, size), dtype=np.float32)
    heatmaps = np.zeros((count, len(KEYPOINTS), size, size), dtype=np.uint8)
    if isinstance(images, WorldImages):
        for index in tqdm(range(count), desc="labels", mininterval=5.0):
            semantic[index] = _majority(images.semantic(index))
            metres = images.depth(index)
            depth[index] = cv2.resize(metres, (size, size), interpolation=cv2.INTER_AREA) * (metres.min() > 0)
            for annotation in images.annotations[index]:
                if "keypoints" in annotation:
                    points = np.array(annotation["keypoints"], dtype=np.float64).reshape(-1, 3)
                    np.maximum(heatmaps[index], _heatmaps(points, size), out=heatmaps[index])
    return Labels(torch.from_numpy(semantic), torch.from_numpy(depth), torch.from_numpy(heatmaps))


def _majority(semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The commonest value of each patch. semantic: (S, S). Returns (S / 8, S / 8)."""
    size = len(semantic) // PATCH
    patches = semantic.reshape(size, PATCH, size, PATCH).transpose(0, 2, 1, 3).reshape(size, size, -1)
    counts = np.zeros((size, size, int(semantic.max()) + 1), dtype=np.int64)
    for value in np.unique(semantic):
        counts[..., value] = (patches == value).sum(axis=-1)
    commonest: NDArray[np.uint8] = counts.argmax(axis=-1).astype(np.uint8)
    return commonest


def _heatmaps(points: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """points: (17, 3) u, v, visibility in pixels. Returns (17, size, size), with a Gaussian of one patch's width at
    each point.
    """
    centres = (np.arange(size) + 0.5) * PATCH
    across = np.exp(-0.5 * ((centres[None] - points[:, :1]) / PATCH) ** 2)
    down = np.exp(-0.5 * ((centres[None] - points[:, 1:2]) / PATCH) ** 2)
    seen = (points[:, 2] > 0)[:, None, None]
    bells: NDArray[np.uint8] = np.rint(255 * down[:, :, None] * across[:, None, :] * seen).astype(np.uint8)
    return bells


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The examples of one step, from all data sets: the fields of Labels and Examples, B of each."""

    latents: Tensor
    captions: list[Sequence[str]]
    labels: Labels


def draw_batch(sets: Sequence[TrainingExamples], shares: Sequence[float], draw: Draw, size: int) -> Batch:
    """`size` examples; the share of each data set is its probability."""
    counts = draw.numpy.multinomial(size, np.array(shares) / np.sum(shares))
    picked = [
        (examples, draw.numpy.integers(len(examples.latents), size=count))
        for examples, count in zip(sets, counts, strict=True)
    ]
    rows = [(examples, torch.from_numpy(index)) for examples, index in picked]
    latents = torch.cat([examples.latents[index] for examples, index in rows])
    labels = Labels(
        torch.cat([examples.labels.semantic[index] for examples, index in rows]),
        torch.cat([examples.labels.depth[index] for examples, index in rows]),
        torch.cat([examples.labels.heatmaps[index] for examples, index in rows]),
    )
    captions = [examples.captions[i] for examples, index in picked for i in index.tolist()]
    return Batch(latents, captions, labels)


def scaling_factor(sets: Sequence[TrainingExamples], chosen: Sequence[float]) -> float:
    """One over the standard deviation of all latents; data sets are weighted by their shares."""
    shares = np.array(chosen)
    squares = np.array([float(examples.latents.square().mean()) for examples in sets])
    means = np.array([float(examples.latents.mean()) for examples in sets])
    shares = shares / shares.sum()
    return round(float((shares @ squares - (shares @ means) ** 2) ** -0.5), 5)
