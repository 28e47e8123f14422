"""Masks, runs and brushes are the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from service.jobs.formats.masks import mask_of, row_runs
from tests.service.jobs.formats.finished_jobs import SIZES, masks, results

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("name", SIZES)
def test_runs_and_masks_are_the_same(name: str) -> None:
    for mask, entry in zip(masks()[name], results("few-shot")[name]["masks"], strict=True):
        assert np.array_equal(mask_of(entry), mask)
        runs = row_runs(mask)
        assert sum(runs) == mask.size
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.shape), mask)
