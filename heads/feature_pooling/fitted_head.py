"""A classifier whose head is one of the released ones, trained by their recipe on stored, pooled feature maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.rows import Capture
from heads.feature_pooling.classifier_heads import AttentionFusion, PooledHead
from heads.feature_pooling.features import make_noised_row
from heads.feature_pooling.logistic import FitReport, check_examples, fold_numbers, report_of
from heads.feature_pooling.recipe import PUBLISHED_ATTENTION, PUBLISHED_LINEAR, fit_head

# Memory of one transformer block a token for the backward pass, in widths: norms, queries, keys, values, hidden.
_KEPT_A_TOKEN = 16

HeadKind = Literal["linear", "mlp", "attention", "fusion"]


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """Which head, and the maps that it reads.

    channels: of each block's map, in order. pool_size: side of all maps. timesteps: how many.
    hidden: widths of the MLP's hidden layers. width, attention_heads, depth: of the transformer. epochs: of the recipe.
    """

    kind: HeadKind
    channels: tuple[int, ...]
    pool_size: int
    timesteps: int
    hidden: tuple[int, ...] = (2048,)
    width: int = 1024
    attention_heads: int = 8
    depth: int = 2
    epochs: int = 28

    @property
    def dimension(self) -> int:
        """Values of a vector."""
        return self.timesteps * sum(self.channels) * self.pool_size**2


@dataclass(frozen=True, slots=True, eq=False)
class HeadClassifier:
    """A trained head. classes: K names. temperature: what logits are divided by. calibrated: on held-out images.

    It cannot recognise images of none of its classes.
    """

    classes: tuple[str, ...]
    plan: HeadPlan
    head: nn.Module
    temperature: float
    calibrated: bool
    threshold: None = None
    gaussians: None = None

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) float64, rows summing to 1, for vectors (N, D) float32."""
        probabilities: NDArray[np.float64] = softmax(logits(self.head, self.plan, vectors) / self.temperature, axis=1)
        return probabilities

    def novelty(self, vectors: NDArray[np.float32]) -> None:
        """None: this head has no measure of novelty. vectors: (N, D) float32."""


def check_plan(plan: HeadPlan, sides: Sequence[int]) -> None:
    """Raises InvalidInput for a head that cannot be built. sides: of each block's map before pooling."""
    if plan.kind in ("linear", "mlp"):
        return
    several = len(plan.channels) * plan.timesteps > 1
    if several != (plan.kind == "fusion"):
        message = f"{plan.kind} of {len(plan.channels)} blocks at {plan.timesteps} timesteps"
        raise InvalidInput("head", message, hint="attention reads one block at one timestep, fusion several of either")
    if plan.width % plan.attention_heads:
        message = f"{plan.attention_heads} heads do not divide a width of {plan.width}"
        raise InvalidInput("head_options", message, hint="change one of them")
    if plan.pool_size > min(sides):
        message = f"{plan.pool_size} cells a side of a map of {min(sides)}"
        raise InvalidInput("pool_size", message, hint=f"at most {min(sides)} with these blocks and this head")


async def map_shapes(engine: Engine, blocks: Sequence[str]) -> list[tuple[int, int]]:
    """Channels and side of each block's map at the backbone's own size, from one row of zeros."""
    backbone = engine.backbone
    side = backbone.image_size // backbone.downscale
    context = (await engine.embed([""]))[0] if backbone.max_tokens else None
    latents = torch.zeros(backbone.latent_channels, side, side, dtype=backbone.dtype, device=backbone.device)
    row = make_noised_row(backbone, latents, None, 0, context, Capture(features=tuple(blocks)))
    (captures,) = await engine.unet([row])
    return [(captures.features[name].shape[0], min(captures.features[name].shape[1:])) for name in blocks]


def fit_published(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    plan: HeadPlan,
    *,
    check: Callable[[], None] = lambda: None,
) -> tuple[HeadClassifier, FitReport]:
    """Train on all images, with figures and temperature from cross-validation.

    vectors: (N, D) float32, maps as `pool_features` lays them out. labels: (N,) int64, indices into `classes`.
    check: called between steps; an exception of it ends the fit.
    Raises InvalidInput as `fit_logistic` does, and if training diverges.
    """
    counts = check_examples(vectors, labels, classes)
    folds = fold_numbers(labels)
    held_out = np.full((1, len(labels), len(classes)), np.nan)
    for fold in range(int(folds.max()) + 1):
        inside, outside = folds != fold, folds == fold
        head = _train(vectors[inside], labels[inside], len(classes), plan, check)
        held_out[0, outside] = logits(head, plan, vectors[outside])
    report, temperature = report_of(held_out, labels, folds, counts, (1.0,))
    head = _train(vectors, labels, len(classes), plan, check)
    classifier = HeadClassifier(tuple(classes), plan, head, temperature, report.folds > 0)
    return classifier, replace(report, strength=None, tried=())


def build_head(plan: HeadPlan, classes: int) -> nn.Module:
    """The head under the released parameter names, not trained."""
    if plan.kind in ("linear", "mlp"):
        # The maps are already averaged and flattened.
        return PooledHead(plan.dimension, 1, classes, plan.hidden if plan.kind == "mlp" else ())
    blocks = range(1, len(plan.channels) + 1)
    arc = (
        f"Use_CLS_Token:True:{plan.width},Insert_CLS_Token,"
        f"Attention:{plan.width}:{plan.attention_heads}:4:{plan.depth},Extract_CLS_Token"
    )
    return AttentionFusion(
        tuple(blocks),
        dict(zip(blocks, plan.channels, strict=True)),
        dict.fromkeys(blocks, plan.pool_size),
        num_classes=classes,
        fusion_arc=arc,
        timesteps=plan.timesteps,
        pre_pool_size=plan.pool_size,
    )


def head_from(plan: HeadPlan, classes: int, state: Mapping[str, Tensor]) -> nn.Module:
    """A trained head of tensors by parameter name, of any shape that `head_shapes` names."""
    with torch.device("meta"):
        head = build_head(plan, classes)
    head.load_state_dict(dict(state), assign=True)
    return head.eval().requires_grad_(False)


def head_shapes(plan: HeadPlan, classes: int) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name; nothing is allocated, whatever the plan says."""
    with torch.device("meta"):
        head = build_head(plan, classes)
    return {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}


def fit_bytes(plan: HeadPlan, classes: int, images: int) -> int:
    """Approximate bytes of memory for training: each parameter with its gradient, and a batch's activations."""
    numbers = sum(math.prod(shape) for shape in head_shapes(plan, classes).values())
    batch = min(images, PUBLISHED_ATTENTION.batch_size)
    kept = batch * plan.dimension
    if plan.kind in ("attention", "fusion"):
        tokens = plan.pool_size**2 * len(plan.channels) + 1
        kept += _KEPT_A_TOKEN * batch * tokens * plan.width * plan.depth * plan.timesteps
    return 4 * (2 * numbers + kept)


@torch.no_grad()
def logits(head: nn.Module, plan: HeadPlan, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, K) float64 for vectors (N, D) float32."""
    parts = [head(*_maps(plan, part)).double().numpy() for part in np.array_split(vectors, len(vectors) // 256 + 1)]
    result: NDArray[np.float64] = np.concatenate(parts)
    return result


def _maps(plan: HeadPlan, vectors: NDArray[np.float32]) -> list[Tensor]:
    """The head's input: (N, C, p, p) of each block of the first timestep, then of the next."""
    tensor = torch.from_numpy(np.ascontiguousarray(vectors))
    if plan.kind in ("linear", "mlp"):
        return [tensor[:, :, None, None]]
    size = plan.pool_size
    parts = torch.split(tensor, [channels * size**2 for channels in plan.channels] * plan.timesteps, dim=1)
    return [part.reshape(len(part), -1, size, size) for part in parts]


def _train(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    plan: HeadPlan,
    check: Callable[[], None],
) -> nn.Module:
    published = PUBLISHED_LINEAR if plan.kind in ("linear", "mlp") else PUBLISHED_ATTENTION
    recipe = replace(published, epochs=plan.epochs, step_epochs=max(1, plan.epochs // 4))
    head = build_head(plan, classes)
    _initialise(head)
    losses = fit_head(head, _maps(plan, vectors), torch.from_numpy(labels), recipe, check=check)
    if not np.isfinite(losses).all():
        raise InvalidInput("head", "its training diverged", hint="take other blocks, or head=logistic")
    return head.requires_grad_(False)


def _initialise(head: nn.Module) -> None:
    """torch's own start of every layer, from a seed: the same images give the same classifier on any thread."""
    generator = torch.Generator().manual_seed(0)
    for module in head.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
