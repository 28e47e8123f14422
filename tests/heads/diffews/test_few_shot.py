"""The parts of DiffewS that the task uses: thresholds, counts, and masks without common pixels."""

from __future__ import annotations

import numpy as np
import pytest

from backbones.errors import InvalidInput, ModelNotFound
from backbones.stable_diffusion import StableDiffusion
from heads.diffews.few_shot import (
    ThresholdOptions,
    answer_concepts,
    check_counts,
    find_shipped_few_shot,
    open_few_shot,
    separate_masks,
)
from heads.diffews.threshold import Threshold
from heads.results import ConceptMask


def concept(strength: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> ConceptMask:
    return ConceptMask(strength > 0.5, strength, float(strength.max()), 0.5)


CONCEPTS = [
    concept(np.array([[0.9, 0.6], [0.1, 0.2]], np.float32)),
    concept(np.array([[0.7, 0.8], [0.1, 0.9]], np.float32)),
]


def test_a_pixel_that_two_concepts_want_goes_to_the_strongest() -> None:
    numbers, masks, scores = separate_masks(CONCEPTS)
    assert numbers.tolist() == [[1, 2], [0, 2]]
    assert masks.sum(axis=(1, 2)).tolist() == [1, 2]
    assert scores == pytest.approx([0.9, 0.85])


def test_answers_number_concepts_in_their_order() -> None:
    first, second = answer_concepts(CONCEPTS, ["cup", "dish"], ["a", "b"], [1, 3])
    assert (first.label, first.id, first.shots, first.mask.name, first.mask.area) == (1, "a", 1, "cup", 1)
    assert (second.label, second.presence, second.cut, second.mask.area) == (2, 0.9, 0.5, 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Threshold("relative", 0.25)),
        ({"threshold": "absolute"}, Threshold("absolute", 0.15)),
        ({"threshold": "absolute", "threshold_value": 0.4}, Threshold("absolute", 0.4)),
    ],
)
def test_unset_thresholds_are_the_published_ones(options: dict[str, object], expected: Threshold) -> None:
    assert ThresholdOptions.model_validate(options).cut() == expected


@pytest.mark.parametrize(("images", "masks"), [(1, 2), (0, 0), (4, 4)])
def test_supports_that_do_not_fit_are_refused(images: int, masks: int) -> None:
    check_counts(3, 3, 3, "support_masks")
    with pytest.raises(InvalidInput) as caught:
        check_counts(images, masks, 3, "support_masks")
    assert caught.value.field == "support_masks"


def test_another_backbone_has_no_shipped_weights(backbone: StableDiffusion) -> None:
    assert find_shipped_few_shot(backbone) is None
    with pytest.raises(ModelNotFound, match="few-shot weights"):
        open_few_shot(backbone)
