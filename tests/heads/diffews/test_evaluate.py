"""Episodes as the published scripts score them, on a small network."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from backbones.engine import DirectEngine
from heads.diffews.episodes import Episode
from heads.diffews.evaluate import EpisodeResult, Labelled, run_episodes, scores_of
from tests.heads.diffews.conftest import disc, picture

SIZE = 64
EPISODES = [Episode("1", ("2",), 5), Episode("3", ("1",), 5)]


def read(name: str, class_id: int) -> Labelled:
    """A picture by its number; a stripe of it does not count."""
    labels = disc().astype(np.uint8)
    labels[:4] = 255
    return picture(int(name)), labels


def run(engine: DirectEngine) -> list[EpisodeResult]:
    async def collect() -> list[EpisodeResult]:
        return [result async for result in run_episodes(engine, EPISODES, read, size=SIZE)]

    return asyncio.run(collect())


@pytest.fixture(scope="module")
def results(engine: DirectEngine) -> list[EpisodeResult]:
    return run(engine)


def test_every_pixel_is_counted_once_or_ignored(results: list[EpisodeResult]) -> None:
    assert [result.episode for result in results] == EPISODES
    for result in results:
        assert result.mask.shape == (SIZE, SIZE)
        assert result.ignored > 0
        # Of two classes each counted pixel is either in both unions or in one intersection.
        assert result.union.sum() + result.ignored == 2 * SIZE * SIZE - result.intersection.sum() - result.ignored


def test_scores_are_those_of_the_summed_areas(results: list[EpisodeResult]) -> None:
    scores = scores_of(results, [5, 6])
    intersection = sum(int(result.intersection[1]) for result in results)
    union = sum(int(result.union[1]) for result in results)
    assert scores.class_iou == pytest.approx((intersection / union, 0.0))
    assert scores.mean_iou == pytest.approx(50 * intersection / union)
