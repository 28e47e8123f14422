"""Captions and images on a small real network: what is compared, what it costs, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.diffusion_classifier.matching import match, matching_rows, verdicts

IMAGES = [np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8) for seed in range(2)]
CAPTIONS = ["a cat", "a dog", "two dogs"]


def test_a_score_does_not_depend_on_the_other_captions_and_images(engine: DirectEngine) -> None:
    together = complete(match(engine, IMAGES, CAPTIONS, interval=250))
    assert together.scores.shape == (3, 2)
    assert together.rows == matching_rows(3, 2, 250) == 4 * 2 * together.timesteps
    alone = complete(match(engine, IMAGES[1:], CAPTIONS[:1], interval=250))
    assert alone.scores[0, 0] == pytest.approx(together.scores[0, 1], rel=1e-4)
    assert alone.baselines[0] == pytest.approx(together.baselines[1], rel=1e-4)


@pytest.mark.parametrize(
    ("images", "changes", "field"),
    [
        (IMAGES, {"interval": 0}, "interval"),
        (IMAGES, {"interval": 1001}, "interval"),
        (IMAGES, {"captions": []}, "captions"),
        (IMAGES, {"captions": ["a cat", " "]}, "captions"),
        (IMAGES, {"captions": ["word " * 200]}, "captions"),
        ([], {}, "images"),
    ],
)
def test_invalid_images_and_captions_are_refused(
    engine: DirectEngine, images: Any, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        complete(match(engine, images, **{"captions": CAPTIONS, "interval": 500, **changes}))
    assert caught.value.field == field


def test_verdicts_are_for_two_captions_and_two_images() -> None:
    assert verdicts(np.array([[2.0, 1.0], [1.0, 2.0]])) == {"text": True, "image": True, "group": True}
    assert verdicts(np.array([[2.0, 3.0], [1.0, 2.0]])) == {"text": False, "image": False, "group": False}
    assert verdicts(np.zeros((3, 2))) is None
