"""Fits that are refused: labels of one class, and jobs with other vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backbones.backbone import Description
from backbones.errors import DiffsightError, InvalidInput
from backbones.loading.source import open_backbone
from service.errors import ChangedMeanwhile
from service.library.classifier_fitting import JobVectors, check_classes, examples_of_job
from service.settings.groups import LimitSettings


@pytest.fixture(scope="module")
def backbone() -> Description:
    return open_backbone("pocket").description


@pytest.fixture
def job(backbone: Description) -> JobVectors:
    parameters = {
        "timesteps": [100], "pool_size": 1, "noise_samples": 1, "fit": "crop", "blocks": None, "normalise": False,
    }  # fmt: skip
    result = {"vector": [1.0, 2.0], "blocks": ["mid_block"]}
    records = [("cat/1.png", "k", result), ("dog/1.png", "l", result), ("cat/2.png", "k", result)]
    return JobVectors("features", "done", backbone.revision, parameters, records)


def folder(name: str) -> str:
    return name.partition("/")[0]


def test_a_jobs_images_are_labelled_and_distinguished_by_their_results(job: JobVectors, backbone: Description) -> None:
    examples, options = examples_of_job(job, backbone, folder)
    assert examples.labels == ("cat", "dog", "cat")
    assert options.blocks == ("mid_block",)
    assert (examples.keys[0] == examples.keys[2]).all()
    assert (examples.keys[0] != examples.keys[1]).any()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"task": "depth"}, InvalidInput),
        ({"status": "running"}, ChangedMeanwhile),
        ({"revision": "other"}, InvalidInput),
        ({"parameters": {"normalise": True}}, InvalidInput),
    ],
)
def test_a_job_that_cannot_be_used_is_refused(
    job: JobVectors, backbone: Description, changes: dict[str, Any], error: type[DiffsightError]
) -> None:
    with pytest.raises(error):
        examples_of_job(replace(job, **changes), backbone, folder)


@pytest.mark.parametrize("labels", [[], ["cat", "cat"], ["a", "b", "c", "d"], ["a", "b"] * 3])
def test_labels_that_no_classifier_takes_are_refused(labels: list[str]) -> None:
    limits = LimitSettings(max_labels=3, max_training_images=5)
    check_classes(["a", "b", "c"], limits)
    with pytest.raises(InvalidInput):
        check_classes(labels, limits)
