"""The published training of a head: plain SGD on features of the frozen network.

Source: diffssl's finetune.py and scripts/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """Stochastic gradient descent without momentum or decay, its rate cut to a tenth every `step_epochs` epochs.

    batch_size: over all processes of the original together.
    """

    learning_rate: float
    batch_size: int
    epochs: int = 28
    step_epochs: int = 7


PUBLISHED_LINEAR = HeadRecipe(learning_rate=1e-2, batch_size=128)
PUBLISHED_ATTENTION = HeadRecipe(learning_rate=5e-2, batch_size=128)


def fit_head(
    head: nn.Module,
    features: Sequence[Tensor],
    labels: Tensor,
    recipe: HeadRecipe = PUBLISHED_LINEAR,
    *,
    sample_order: Tensor | None = None,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train `head` in place on stored features; it is left in eval mode.

    features: one (N, C, h, w) tensor for each argument of the head's `forward`. labels: (N,) int64 class indices.
    sample_order: (epochs, N) int64, which sample comes when; drawn from `seed` if it is not given. Batches are
    consecutive; an incomplete last one is left out, as in the original, unless it is the epoch's only one.
    check: called before every step; what it raises ends the training.
    Returns the cross-entropy of every step.
    Raises InvalidInput if features and labels do not match, or there are none.

    The original draws new crops and new noise each epoch; stored features are one draw, or several as further samples.
    """
    count = len(labels)
    if not count or not features or any(len(feature) != count for feature in features):
        raise InvalidInput(
            "features",
            f"{[len(feature) for feature in features]} feature maps for {count} labels",
            hint="send one each",
        )
    if sample_order is None:
        generator = torch.Generator().manual_seed(seed)
        sample_order = torch.stack([torch.randperm(count, generator=generator) for _ in range(recipe.epochs)])
    if sample_order.shape != (recipe.epochs, count):
        raise InvalidInput("sample_order", f"{tuple(sample_order.shape)} where {(recipe.epochs, count)} belongs")
    batch_size = min(recipe.batch_size, count)
    optimizer = torch.optim.SGD(head.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=recipe.step_epochs, gamma=0.1)
    losses = []
    head.train()
    for order in sample_order.to(labels.device):
        for batch in order[: count - count % batch_size].split(batch_size):
            check()
            loss = functional.cross_entropy(head(*(feature[batch] for feature in features)), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        schedule.step()
    head.eval()
    return losses
