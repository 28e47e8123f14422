"""A short `make soak-jobs` among the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.jobs import default_backbone, soak


@pytest.mark.slow
def test_a_job_that_is_killed_three_times_ends_as_one_that_is_not(tmp_path: Path) -> None:
    output = soak(tmp_path, images=60, kills=3, seed=1, backbone=default_backbone())
    assert output.startswith("soak-jobs: 60 images, 3 kills: 60 results, none twice")
