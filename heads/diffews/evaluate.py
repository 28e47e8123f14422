"""The published protocol: masks and areas of each episode, at the network's size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine
from heads.diffews.bank import VARIANT, concatenate_banks, sample_banks, support_banks
from heads.diffews.episodes import Episode
from heads.diffews.metrics import Scores, areas, scores
from heads.diffews.preprocess import resize_labels
from heads.diffews.segment import mask_pictures
from heads.diffews.threshold import PUBLISHED, Threshold, cut

IGNORED = 255

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image (H, W, 3) uint8, and for one class (H, W) uint8: 1 on the object, 255 where a pixel does not count."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeResult:
    """mask: (size, size) bool. intersection, union: (2,) pixels of background and object. ignored: pixels."""

    episode: Episode
    mask: NDArray[np.bool_]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    ignored: int


async def run_episodes(
    engine: Engine,
    episodes: Sequence[Episode],
    read: Callable[[str, int], Labelled],
    *,
    size: int,
    threshold: Threshold = PUBLISHED,
    sampling: bool = False,
    variant: str = VARIANT,
) -> AsyncIterator[EpisodeResult]:
    """Each episode's result, in order.

    read: an image by its name, and the mask of a class in it. sampling: reduce the supports' bank to one image's size.
    The published scripts score the squashed size x size picture, with 255 in a support mask as background, and repeat a
    support that was drawn twice.
    """
    for episode in episodes:
        query, labels = read(episode.query, episode.class_id)
        supports = [read(name, episode.class_id) for name in episode.supports]
        images = [image for image, _ in supports]
        masks = [(mask == 1).astype(np.uint8) for _, mask in supports]
        banks = await support_banks(engine, images, masks, size=size, variant=variant)
        bank = await engine.run(sample_banks, banks, repr(episode).encode()) if sampling else concatenate_banks(banks)
        rgb: Tensor = (await mask_pictures(engine, query, [bank], size=size, variant=variant))[0]
        mask: NDArray[np.bool_] = cut(rgb, threshold).numpy()
        truth = resize_labels(labels, size)
        ignored = truth == IGNORED
        intersection, union = areas(mask, truth == 1, ignored)
        yield EpisodeResult(episode, mask, intersection, union, int(ignored.sum()))


def scores_of(results: Sequence[EpisodeResult], class_ids: Sequence[int]) -> Scores:
    """mIoU and FB-IoU over the classes of a fold."""
    classes = [result.episode.class_id for result in results]
    return scores(class_ids, classes, [result.intersection for result in results], [result.union for result in results])
