"""The published figures of the three dense heads, over data sets in their official layouts and over worlds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from backbones.engine import Engine, complete
from heads.images import resample
from heads.vpd.depth import DepthProtocol, predict_depth
from heads.vpd.heads import DepthHead, Head, ReferringHead, SegmentationHead
from heads.vpd.metrics import IoUCounts, depth_figures, mean_figures, referring_figures, valid_depth
from heads.vpd.referring import predict_referring
from heads.vpd.segmentation import SegmentationProtocol, predict_segmentation
from training.datasets.dense_folder import DenseFolder
from training.datasets.public_dense import NYU_SIZE, Truth
from training.dense_baselines import Baselines, score_baselines


def evaluate_depth(
    engine: Engine, head: DepthHead, samples: Iterable[Truth], *, protocol: DepthProtocol = "fast", eigen: bool = True
) -> dict[str, float]:
    """Means of the figures of single images. eigen: count only the Eigen crop, of 480 x 640 pictures.

    Networks with scene classes get the scene class of the data set, as in the published protocol.
    """
    figures = []
    for sample in tqdm(samples, desc="depth"):
        scene = sample.scene if sample.scene in head.scenes else None
        depth = complete(predict_depth(engine, sample.image, head, scene=scene, protocol=protocol))
        truth = torch.from_numpy(sample.truth)
        crop = eigen and tuple(truth.shape) == NYU_SIZE
        figures.append(depth_figures(torch.from_numpy(depth.metres), truth, valid_depth(truth, eigen=crop, high=10.0)))
    return mean_figures(figures)


def evaluate_segmentation(
    engine: Engine, head: SegmentationHead, samples: Iterable[Truth], *, protocol: SegmentationProtocol = "fast"
) -> dict[str, float]:
    """mIoU, mean and pixel accuracy from pixels summed over all images."""
    counts = IoUCounts.zeros(len(head.classes))
    for sample in tqdm(samples, desc="segmentation"):
        counts.add(
            complete(predict_segmentation(engine, sample.image, head, protocol=protocol)).class_map, sample.truth
        )
    return counts.figures()


def evaluate_referring(engine: Engine, head: ReferringHead, samples: Iterable[Truth]) -> dict[str, float]:
    """oIoU, mean IoU and precisions. Masks are compared in the square of a published network, else at their own size.

    The truth is resized to the square with nearest-neighbour interpolation; pixels count where the truth is exactly 1.
    Source: `refer/test.py` of wl-zhao/VPD.
    """
    pairs = []
    for sample in tqdm(samples, desc="referring"):
        image, truth = sample.image, sample.truth
        if head.squash:
            square = (head.size, head.size)
            image = np.asarray(resample(Image.fromarray(image), square, Image.Resampling.BILINEAR))
            truth = np.asarray(Image.fromarray(truth).resize(square, Image.Resampling.NEAREST))
        masks, _ = complete(predict_referring(engine, image, head, [sample.sentence]))
        mask, object_ = masks.masks[0], truth == 1
        pairs.append((int((mask & object_).sum()), int((mask | object_).sum())))
    return referring_figures(pairs)


def world_figures(engine: Engine, head: Head, folder: DenseFolder, baselines: Baselines) -> dict[str, float]:
    """A head's figures over a folder in the layout of the rendered world, and those of the baselines."""
    samples = list(world_samples(folder))
    if isinstance(head, DepthHead):
        figures = evaluate_depth(engine, head, samples, eigen=False)
    elif isinstance(head, SegmentationHead):
        figures = evaluate_segmentation(engine, head, samples)
    else:
        figures = evaluate_referring(engine, head, samples)
    images, truths = [sample.image for sample in samples], [sample.truth for sample in samples]
    return {**figures, **score_baselines(folder.task, baselines, images, truths)}


def world_samples(folder: DenseFolder) -> Iterator[Truth]:
    """The examples of a folder in the layout of the rendered world."""
    for sample in folder.samples:
        truth: Any = folder.truth(sample)
        yield Truth(folder.image(sample), truth, sentence=sample.sentence)
