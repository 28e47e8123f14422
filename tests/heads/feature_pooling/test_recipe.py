"""Training on stored features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backbones.errors import InvalidInput
from heads.feature_pooling.classifier_heads import AttentionFusion, PooledHead
from heads.feature_pooling.recipe import PUBLISHED_ATTENTION, PUBLISHED_LINEAR, HeadRecipe, fit_head


@pytest.fixture
def separable_features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 2 * torch.randn(3, 6, generator=generator)
    features = centres[labels][:, :, None, None] + 0.3 * torch.randn(60, 6, 4, 4, generator=generator)
    return features, labels


def test_the_published_rates() -> None:
    assert (PUBLISHED_LINEAR.learning_rate, PUBLISHED_LINEAR.batch_size, PUBLISHED_LINEAR.epochs) == (1e-2, 128, 28)
    assert PUBLISHED_ATTENTION.learning_rate == 5e-2


def test_a_linear_head_learns(separable_features: tuple[Tensor, Tensor]) -> None:
    features, labels = separable_features
    torch.manual_seed(0)
    head = PooledHead(6, 2, 3)
    losses = fit_head(head, [features], labels, HeadRecipe(learning_rate=0.05, batch_size=16))
    assert len(losses) == 28 * 3
    assert losses[-1] < 0.2 * losses[0]
    assert (head(features).argmax(dim=1) == labels).float().mean() > 0.95
    assert not head.training


def test_an_attention_head_learns_from_several_maps(separable_features: tuple[Tensor, Tensor]) -> None:
    features, labels = separable_features
    torch.manual_seed(0)
    arc = "Use_CLS_Token:True:16,Insert_CLS_Token,Attention:16:4:2:1,Extract_CLS_Token"
    head = AttentionFusion([2, 5], {2: 6, 5: 6}, {2: 4, 5: 4}, num_classes=3, fusion_arc=arc)
    losses = fit_head(head, [features, features.flip(1)], labels, HeadRecipe(0.05, batch_size=16, epochs=10))
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seed_gives_the_same_head(separable_features: tuple[Tensor, Tensor]) -> None:
    def fit(seed: int) -> list[float]:
        torch.manual_seed(0)
        return fit_head(
            PooledHead(6, 1, 3),
            [separable_features[0]],
            separable_features[1],
            HeadRecipe(0.01, 16, epochs=2),
            seed=seed,
        )

    assert fit(1) == fit(1)
    assert fit(1) != fit(2)


def test_the_rate_falls_to_a_tenth(separable_features: tuple[Tensor, Tensor]) -> None:
    features, labels = separable_features
    order = torch.zeros(2, 60, dtype=torch.int64)
    head = PooledHead(6, 1, 3)
    weights = [head.get_parameter("fcs.0.bias").detach().clone()]

    def remember(module: torch.nn.Module, *_: object) -> None:
        weights.append(head.get_parameter("fcs.0.bias").detach().clone())

    head.register_forward_pre_hook(remember)
    fit_head(head, [features], labels, HeadRecipe(1e-3, 60, epochs=2, step_epochs=1), sample_order=order)
    weights.append(head.get_parameter("fcs.0.bias").detach().clone())
    first, second = weights[2] - weights[1], weights[3] - weights[2]
    assert (second.norm() / first.norm()).item() == pytest.approx(0.1, rel=0.02)


def test_fewer_samples_than_a_batch_still_train(separable_features: tuple[Tensor, Tensor]) -> None:
    losses = fit_head(PooledHead(6, 1, 3), [separable_features[0][:5]], separable_features[1][:5])
    assert len(losses) == 28


def test_mismatched_features_are_refused(separable_features: tuple[Tensor, Tensor]) -> None:
    features, labels = separable_features
    for wrong, targets in (([features[:7]], labels), ([], labels), ([features[:0]], labels[:0])):
        with pytest.raises(InvalidInput):
            fit_head(PooledHead(6, 1, 3), wrong, targets)
    with pytest.raises(InvalidInput):
        fit_head(PooledHead(6, 1, 3), [features], labels, sample_order=torch.zeros(1, 60, dtype=torch.int64))
