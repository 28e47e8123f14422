"""Stored classifiers: joined examples, and files whose every number is checked."""

from __future__ import annotations

import numpy as np
import pytest

from backbones.backbone import Description
from backbones.errors import Cancelled, InvalidInput
from backbones.loading.source import open_backbone
from service.library.classifiers import (
    Classifier,
    FeatureOptions,
    LabelledVectors,
    as_tensors,
    fit_classifier,
    from_file,
    join_examples,
)

FEATURES = FeatureOptions(blocks=("mid_block",), timesteps=(100,), pool_size=1, noise_samples=1, fit="crop")


def examples(labels: str, first: int = 0) -> LabelledVectors:
    """One vector a letter, near the vectors of its letter; equal numbers are the same image."""
    drawn = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    kinds = np.array([[ord(letter) - ord("a")] for letter in labels], np.float32)
    places = np.arange(first, first + len(labels))
    keys = np.repeat(places[:, None], 16, axis=1).astype(np.uint8)
    return LabelledVectors(drawn[places] * 0.3 + kinds, tuple(labels), keys)


@pytest.fixture(scope="module")
def backbone() -> Description:
    return open_backbone("pocket").description


@pytest.fixture(scope="module")
def classifier(backbone: Description) -> Classifier:
    return fit_classifier(examples("aaaabbbb"), FEATURES, backbone, name="letters")


def test_an_image_counts_once_under_one_label() -> None:
    both, repeated = join_examples(examples("ab"), examples("bc", first=1))
    assert (both.labels, repeated) == (("a", "b", "c"), 1)
    assert both.vectors.shape == (3, 6)
    without, _ = join_examples(examples("ab"), examples("c", first=5), without=["a"])
    assert without.labels == ("b", "c")
    with pytest.raises(InvalidInput, match="the same image"):
        join_examples(examples("ab"), examples("cc", first=1))
    with pytest.raises(InvalidInput, match="no class"):
        join_examples(examples("ab"), examples("c", first=5), without=["z"])


def test_a_classifier_comes_back_from_its_file(classifier: Classifier) -> None:
    again = from_file(classifier.about.model_dump(mode="json"), as_tensors(classifier))
    assert again.about == classifier.about
    vectors = examples("ab").vectors
    np.testing.assert_array_equal(again.model.probabilities(vectors), classifier.model.probabilities(vectors))
    assert again.examples is not None
    assert again.examples.labels == tuple("aaaabbbb")
    short = from_file(classifier.about.model_dump(mode="json"), as_tensors(classifier, examples=False))
    assert short.examples is None


@pytest.mark.parametrize("fault", ["missing", "shape", "type", "not finite", "labels"])
def test_a_file_with_a_number_that_is_off_is_refused(classifier: Classifier, fault: str) -> None:
    tensors = as_tensors(classifier)
    if fault == "missing":
        del tensors["weights"]
    elif fault == "shape":
        tensors["mean"] = tensors["mean"][:-1]
    elif fault == "type":
        tensors["bias"] = tensors["bias"].astype(np.float64)
    elif fault == "not finite":
        tensors["weights"] = np.full_like(tensors["weights"], np.nan)
    else:
        tensors["examples.labels"] = np.zeros_like(tensors["examples.labels"])
    with pytest.raises(InvalidInput) as caught:
        from_file(classifier.about.model_dump(mode="json"), tensors, field="archive")
    assert caught.value.field == "archive"


@pytest.mark.parametrize("name", ["\ud800", "", "x" * 1001])
def test_a_class_whose_name_no_answer_can_hold_is_refused(classifier: Classifier, name: str) -> None:
    about = classifier.about.model_dump(mode="json")
    with pytest.raises(InvalidInput, match="classes"):
        from_file(about | {"classes": [name, "b"]}, as_tensors(classifier))


def test_a_fit_without_a_waiting_request_ends(backbone: Description) -> None:
    import threading

    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        fit_classifier(examples("aaaabbbb"), FEATURES, backbone, name="", stopped=stopped)
