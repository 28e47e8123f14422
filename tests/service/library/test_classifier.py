"""The answer of a fitted classifier to a vector."""

from __future__ import annotations

import numpy as np
import pytest

from backbones.errors import InvalidInput
from backbones.loading.source import open_backbone
from heads.feature_pooling.features import open_features
from heads.inputs import DecodedImage, InputCounts
from service.engine.caches import TensorCache
from service.library.classifier import (
    ClassifierHead,
    ClassifyOptions,
    classifier_rows,
    classify_vectors,
    complete_classifier,
)
from service.library.classifiers import Classifier, fit_classifier
from service.library.vectors import Vectors
from service.settings.groups import LimitSettings
from tests.service.library.test_classifiers import FEATURES, examples


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return fit_classifier(examples("aaaabbbbcccc"), FEATURES, open_backbone("pocket").description, name="letters")


def test_classes_are_named_likeliest_first(classifier: Classifier) -> None:
    held = examples("abc", first=20)
    images = [DecodedImage(np.zeros((2, 3, 3), np.uint8))] * 3
    answers = classify_vectors(classifier, Vectors(held.vectors, held.keys), images, 2)
    assert [answer.label for answer in answers] == ["a", "b", "c"]
    for answer in answers:
        assert len(answer.scores) == 2
        assert answer.probability == answer.scores[0].probability >= answer.scores[1].probability
        assert (answer.image.width, answer.image.height) == (3, 2)


def test_rows_are_those_of_the_features_that_it_was_fitted_on(classifier: Classifier) -> None:
    head = ClassifierHead("a", classifier, TensorCache(1), "revision")
    assert classifier_rows(ClassifyOptions(), head) == len(FEATURES.timesteps) * max(1, FEATURES.noise_samples)


def test_a_request_without_a_classifier_is_refused() -> None:
    model = open_features(open_backbone("pocket"))
    with pytest.raises(InvalidInput, match="names no classifier"):
        complete_classifier(ClassifyOptions(), model, InputCounts(), LimitSettings())
