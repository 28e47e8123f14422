"""Labelled images of a request: in order, and by folders of a zip."""

from __future__ import annotations

from typing import Any

import pytest

from backbones.errors import InvalidInput
from service.api.classifier_bodies import ExamplesRequest, folder_of
from service.inputs.archives import ArchivedFile
from service.settings.groups import LimitSettings

LIMITS = LimitSettings(max_training_images=3)


def test_images_of_a_zip_are_labelled_by_their_folder_and_others_in_order() -> None:
    archived = ArchivedFile("photos/cat/1.png", b"x")
    request = ExamplesRequest.model_validate({"images": [b"a", archived, b"b"], "labels": ["dog", "fox"]})
    images, labels = request.pair_labels(LIMITS)
    assert images == [b"a", archived, b"b"]
    assert labels == ["dog", "cat", "fox"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"images": [b"a", b"b"], "labels": ["dog"]}, "labels"),
        ({"images": [ArchivedFile("cat/1.png", b"x")], "labels": ["dog"]}, "labels"),
        ({"images": [b"a"] * 4, "labels": ["dog"] * 4}, "images"),
    ],
)
def test_labels_that_do_not_match_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ExamplesRequest.model_validate(fields).pair_labels(LIMITS)
    assert caught.value.field == field


def test_an_image_outside_of_every_folder_has_no_label() -> None:
    assert folder_of("a/b/1.png") == "b"
    with pytest.raises(InvalidInput):
        folder_of("1.png")
