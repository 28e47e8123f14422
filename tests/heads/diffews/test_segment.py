"""Queries: the same mask from every form of the bank, in the original image's pixels; several concepts in one map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.rows import Bank
from heads.diffews.bank import BankForm, concatenate_banks, support_banks
from heads.diffews.segment import concept_mask, label_map, mask_pictures, segment, segment_concepts
from heads.diffews.threshold import PUBLISHED, Threshold
from heads.results import ConceptMask
from tests.heads.diffews.conftest import disc, picture
from tests.heads.diffews.test_bank import banks

QUERY = picture(9, 60, 40)


def strengths(engine: DirectEngine, bank: Bank) -> NDArray[np.float32]:
    masks = complete(segment_concepts(engine, QUERY, [bank], thresholds=[PUBLISHED]))
    return masks[0].strength


@pytest.mark.parametrize("form", ["keys_values", "hidden_states"])
def test_a_bank_gives_what_its_pictures_give(engine: DirectEngine, form: BankForm) -> None:
    images, masks = [picture(1), picture(2)], [disc(), disc()]
    whole = complete(segment(engine, QUERY, images, masks, form=form))
    kept = concatenate_banks(complete(support_banks(engine, images, [m.astype(np.uint8) for m in masks], size=64)))
    np.testing.assert_allclose(whole.strength, strengths(engine, kept), atol=2 / 255)
    assert whole.mask.shape == whole.strength.shape == (60, 40)
    assert whole.mask.dtype == bool
    assert (whole.mask == (whole.strength > np.float32(whole.cut))).all()


def test_concepts_of_different_shots_share_a_batch_and_do_not_mix(engine: DirectEngine) -> None:
    one_shot, three_shots = banks(engine, 1)[0], concatenate_banks(banks(engine, 2, 3, 4))
    both = complete(mask_pictures(engine, QUERY, [one_shot, three_shots], size=64))
    for together, bank in zip(both, (one_shot, three_shots), strict=True):
        alone = complete(mask_pictures(engine, QUERY, [bank], size=64))[0]
        assert int((together.int() - alone.int()).abs().max()) <= 1
    assert not torch.equal(both[0], both[1])


def test_copies_of_a_support_are_not_one_support(engine: DirectEngine) -> None:
    (bank,) = banks(engine, 1)
    assert not np.allclose(strengths(engine, bank), strengths(engine, concatenate_banks([bank] * 3)), atol=1e-3)


def test_supports_and_masks_have_to_match_in_number(engine: DirectEngine) -> None:
    for images in ([], [picture(1)]):
        with pytest.raises(InvalidInput, match="a mask for each"):
            complete(segment(engine, QUERY, images, []))


def test_an_empty_mask_is_named_by_its_place(engine: DirectEngine) -> None:
    with pytest.raises(InvalidInput) as refused:
        complete(segment(engine, QUERY, [picture(1)] * 2, [disc(), np.zeros((50, 70))]))
    assert refused.value.field == "supports.1.mask"


def test_at_the_networks_size_the_mask_is_the_originals() -> None:
    rgb = torch.zeros(3, 4, 4, dtype=torch.uint8)
    rgb[:, 0, 0] = 200
    rgb[:, 1, 1] = 51  # over a quarter of the largest
    rgb[:, 2, 2] = 50  # a quarter: not over it
    result = concept_mask(rgb, 4, 4, PUBLISHED)
    assert np.argwhere(result.mask).tolist() == [[0, 0], [1, 1]]
    assert result.presence == pytest.approx(200 / 255)
    assert result.cut == pytest.approx(50 / 255)


def test_only_the_absolute_threshold_can_say_not_there() -> None:
    faint = torch.full((3, 4, 4), 2, dtype=torch.uint8)
    assert concept_mask(faint, 8, 8, PUBLISHED).mask.all()
    assert not concept_mask(faint, 8, 8, Threshold("absolute", 0.15)).mask.any()
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert not concept_mask(black, 8, 8, PUBLISHED).mask.any()


def test_each_pixel_goes_to_its_strongest_concept_over_the_threshold() -> None:
    def of(strength: list[float], cut: float) -> ConceptMask:
        values = np.array([strength], np.float32)
        return ConceptMask(values > cut, values, max(strength), cut)

    masks = [of([0.9, 0.3, 0.5, 0.0], 0.2), of([0.8, 0.4, 0.5, 0.1], 0.35), of([0.0, 0.9, 0.0, 0.0], 0.95)]
    assert label_map(masks).tolist() == [[1, 2, 1, 0]]


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        Threshold("absolute", value)
