"""The released heads on stored vectors: they give what they gave on maps, learn, and are read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones.errors import Cancelled, InvalidInput
from heads.feature_pooling.classifier_heads import AttentionFusion, PooledHead
from heads.feature_pooling.fitted_head import (
    HeadClassifier,
    HeadPlan,
    build_head,
    check_plan,
    fit_bytes,
    fit_published,
    head_from,
    head_shapes,
    logits,
)
from heads.feature_pooling.pooling import pool

SMALL: dict[str, Any] = {"hidden": (16,), "width": 16, "attention_heads": 2, "depth": 1, "epochs": 120}
PLANS = {
    "linear": HeadPlan("linear", (6,), 2, 1, **SMALL),
    "mlp": HeadPlan("mlp", (6,), 2, 1, **SMALL),
    "attention": HeadPlan("attention", (6,), 2, 1, **SMALL),
    "fusion": HeadPlan("fusion", (6, 4), 2, 2, **SMALL),
}


def examples(plan: HeadPlan, per_class: int = 12) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Vectors of three classes that lie apart."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 2, (3, plan.dimension))
    labels = np.repeat(np.arange(3), per_class)
    vectors = centres[labels] + generator.normal(0, 0.6, (len(labels), plan.dimension))
    return vectors.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_a_head_learns_and_gives_the_same_for_the_same(plan: HeadPlan) -> None:
    vectors, labels = examples(plan)
    classifier, report = fit_published(vectors, labels, ("a", "b", "c"), plan)
    assert report.accuracy is not None
    assert report.accuracy > 0.8
    assert (report.strength, report.tried, report.validated) == (None, (), 36)
    assert classifier.calibrated
    probabilities = classifier.probabilities(vectors)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9
    again, _ = fit_published(vectors, labels, ("a", "b", "c"), plan)
    np.testing.assert_array_equal(again.probabilities(vectors), probabilities)


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_a_head_comes_back_from_its_tensors(plan: HeadPlan) -> None:
    vectors, _ = examples(plan)
    head = build_head(plan, 3)
    state = head.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == head_shapes(plan, 3)
    back = head_from(plan, 3, state)
    np.testing.assert_array_equal(logits(back, plan, vectors), logits(head, plan, vectors))


def test_pooled_vectors_are_what_the_heads_make_of_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    maps: list[Tensor] = [torch.randn(5, channels, 8, 8, generator=generator) for channels in (6, 4)]
    vectors = torch.cat([pool(feature_map, 4) for feature_map in maps], dim=1).numpy()
    fusion = AttentionFusion(
        (1, 2),
        {1: 6, 2: 4},
        {1: 8, 2: 8},
        num_classes=3,
        fusion_arc="Use_CLS_Token:True:16,Insert_CLS_Token,Attention:16:2:4:1,Extract_CLS_Token",
        pre_pool_size=4,
    ).eval()
    plan = HeadPlan("fusion", (6, 4), 4, 1, **SMALL)
    same = head_from(plan, 3, fusion.state_dict())
    expected = fusion(*maps).detach().numpy()
    np.testing.assert_allclose(logits(same, plan, vectors), expected, atol=1e-5)

    mlp = PooledHead(6, 4, 3, (16,)).eval()
    plan = HeadPlan("mlp", (6,), 4, 1, **SMALL)
    expected = mlp(maps[0]).detach().numpy()
    same = head_from(plan, 3, mlp.state_dict())
    np.testing.assert_allclose(logits(same, plan, pool(maps[0], 4).numpy()), expected, atol=1e-5)


def test_one_image_a_class_says_nothing_of_how_good_it_is() -> None:
    plan = PLANS["linear"]
    vectors, _ = examples(plan, 1)
    classifier, report = fit_published(vectors, np.arange(3), ("a", "b", "c"), plan)
    assert isinstance(classifier, HeadClassifier)
    assert (report.accuracy, report.folds, classifier.calibrated, classifier.threshold) == (None, 0, False, None)


def test_a_training_that_diverges_is_reported() -> None:
    plan = PLANS["linear"]
    vectors, labels = examples(plan)
    with pytest.raises(InvalidInput, match="diverged"):
        fit_published(vectors * np.float32(1e25), labels, ("a", "b", "c"), plan)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "attention", "channels": (6, 4)}, "head"),
        ({"kind": "attention", "timesteps": 2}, "head"),
        ({"kind": "fusion"}, "head"),
        ({"kind": "attention", "width": 15}, "head_options"),
        ({"kind": "attention", "pool_size": 9}, "pool_size"),
    ],
)
def test_an_invalid_head_is_refused(changes: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"kind": "linear", "channels": (6,), "pool_size": 2, "timesteps": 1, **SMALL, **changes}
    with pytest.raises(InvalidInput) as refused:
        check_plan(HeadPlan(**fields), [8] * len(fields["channels"]))
    assert refused.value.field == field


def test_the_memory_of_a_training_is_estimated_and_grows_with_every_size() -> None:
    small = fit_bytes(PLANS["attention"], 3, 10)
    for plan, classes, images in (
        (replace(PLANS["attention"], width=64), 3, 10),
        (replace(PLANS["attention"], depth=9), 3, 10),
        (PLANS["attention"], 900, 10),
        (PLANS["attention"], 3, 100),
    ):
        assert fit_bytes(plan, classes, images) > small
    wide = HeadPlan("attention", (64,), 1, 1, width=4096)
    assert fit_bytes(wide, 2, 4) > 3 * 10**9


def test_a_training_ends_between_two_steps_on_request() -> None:
    vectors, labels = examples(PLANS["linear"])
    steps = iter(range(3))

    def check() -> None:
        if next(steps, None) is None:
            raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        fit_published(vectors, labels, ("a", "b", "c"), replace(PLANS["linear"], epochs=1000), check=check)
