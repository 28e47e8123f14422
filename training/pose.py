"""Fits a heat-map head from any data set in COCO's keypoint layout: on frozen features, or with the U-Net fine-tuned.

The targets, loss and optimiser are SDPose's (arXiv:2509.24980, section 3.3 and supplement); so is the fine-tuning, in
which the U-Net in-paints beside (`training/pose_unet.py`). Boxes are shifted, scaled, turned and mirrored anew at every
visit, so features are computed again each time: it costs a pass, and no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.backbone import Description
from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.sdpose import codec, crops
from heads.sdpose.estimation import PoseModel, empty_context, pose_rows, stack_features
from heads.sdpose.head import HeatmapHead
from heads.sdpose.losses import heatmap_loss
from heads.sdpose.persons import Person
from training.pose_data import PoseData
from training.pose_unet import VARIANT, TunedUNet


@dataclass(frozen=True, slots=True)
class PoseRecipe:
    """How a head is fitted.

    features: modules to read; empty for the decoder's last two blocks. timestep: of the clean latents. size: (width,
    height) of crops in pixels; None for the backbone's height and three quarters of it. sigma: of the targets, as a
    share of the map's width; SDPose has 6 of 192. shift, scale, degrees: the maximum by which a box is moved, as a
    share of its sides, resized and rotated; each is drawn from a normal distribution with half of that as its
    deviation. unet_learning_rate: 0 leaves the U-Net unchanged; SDPose has 3e-5. parts: beginnings or parts of the
    names of its parameters that learn; empty for all, as published.
    """

    steps: int = 2000
    batch: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    features: tuple[str, ...] = ()
    timestep: int = 50
    size: tuple[int, int] | None = None
    sigma: float = 6 / 192
    shift: float = 0.1
    scale: float = 0.25
    degrees: float = 30.0
    unet_learning_rate: float = 0.0
    parts: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One augmented crop of a person. pixels: (3, H, W) float32. points: (K, 2) float32, pixels of the crop. visible:
    (K,).
    """

    pixels: Tensor
    points: Tensor
    visible: Tensor


def fit_pose(
    engine: DirectEngine,
    data: PoseData,
    recipe: PoseRecipe,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> PoseModel:
    """The fitted network over the engine's backbone. on_step: called with each step and its loss, relative to the
    targets.

    With `unet_learning_rate` the fine-tuned U-Net becomes the backbone's variant "pose".
    Raises InvalidInput for features that the backbone does not have, and for parts that match no parameter.
    """
    backbone = engine.backbone
    model = initialise_pose(engine, data, recipe)
    generator = np.random.default_rng(recipe.seed)
    head = model.head.float().train().requires_grad_(True)
    learning = [{"params": list(head.parameters()), "lr": recipe.learning_rate}]
    context = complete(empty_context(engine))
    tuned = None
    if recipe.unet_learning_rate:
        tuned = TunedUNet(engine, model, context, recipe.parts)
        learning.append({"params": tuned.learning, "lr": recipe.unet_learning_rate})
    optimiser = torch.optim.AdamW(learning, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _learning_rate_share(step, recipe.steps))
    order: list[int] = []
    for step in range(recipe.steps):
        while len(order) < recipe.batch:
            order += generator.permutation(len(data.persons)).tolist()
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        views = [random_view(data, data.persons[index], model.size, recipe, generator) for index in chosen]
        pixels = [view.pixels for view in views]
        if tuned is None:
            captures = complete(engine.unet(pose_rows(model, complete(engine.encode(pixels)), context)))
            features, restored = stack_features(model, captures).float(), torch.zeros(())
        else:
            features, restored = tuned.look(pixels, generator)
        predicted = head(features)
        maps = (predicted.shape[3], predicted.shape[2])
        target, weights = codec.encode(
            torch.stack([view.points for view in views]),
            torch.stack([view.visible for view in views]),
            model.size,
            maps,
            max(recipe.sigma * maps[0], 1.0),
        )
        target, weights = target.to(predicted), weights.to(predicted)
        # Divided by the targets' own mean square, so that learning rates suit maps of any size.
        loss = heatmap_loss(predicted, target, weights) / target.square().mean().clamp_min(1e-6)
        optimiser.zero_grad(set_to_none=True)
        (loss + restored.to(loss.device)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        on_step(step + 1, float(loss.detach()))
    head.eval().requires_grad_(False)
    if tuned is not None:
        tuned.register()
        model = replace(model, variant=VARIANT)
    return replace(model, head=head.to(backbone.dtype))


def _learning_rate_share(step: int, steps: int) -> float:
    """Rises for a tenth of the steps, then falls to zero along a cosine."""
    rising = max(1, steps // 10)
    return min((step + 1) / rising, 0.5 * (1 + math.cos(math.pi * step / steps)))


def initialise_pose(engine: DirectEngine, data: PoseData, recipe: PoseRecipe) -> PoseModel:
    """A pose model with the features and size that the recipe names, and a heat-map head with initial weights."""
    backbone = engine.backbone
    size = recipe.size or default_size(backbone)
    features = recipe.features or default_features(backbone)
    probe = PoseModel(
        "", HeatmapHead(1, 1), data.skeleton, size, "", recipe.timestep, features, backbone.scaling_factor, ""
    )
    context = complete(empty_context(engine))
    black = torch.zeros(3, size[1], size[0])
    captures = complete(engine.unet(pose_rows(probe, complete(engine.encode([black])), context)))
    channels = stack_features(probe, captures).shape[1]
    torch.manual_seed(recipe.seed)
    head = HeatmapHead(channels, len(data.skeleton)).initialise()
    return replace(probe, head=head.to(backbone.device))


def default_size(backbone: Description) -> tuple[int, int]:
    """Width and height of crops: the backbone's height and three quarters of it, in steps of two latents."""
    step = 2 * backbone.downscale
    return round(0.75 * backbone.image_size / step) * step, backbone.image_size


def default_features(backbone: Description) -> tuple[str, ...]:
    """The decoder's last two blocks. Raises InvalidInput if it has none."""
    blocks = sorted({name.split(".")[1] for name in backbone.sub_blocks if name.startswith("up_blocks.")}, key=int)
    if not blocks:
        raise InvalidInput("features", f"{backbone.name!r} has no decoder blocks", hint="name modules with --feature")
    return tuple(f"up_blocks.{block}" for block in blocks[-2:])


def random_view(
    data: PoseData, person: Person, size: tuple[int, int], recipe: PoseRecipe, generator: np.random.Generator
) -> View:
    """A crop of a person with a shifted, scaled and rotated box, mirrored in half of the cases."""
    image = data.image(person.image_id)
    points = data.points[person.id]
    center, padded = crops.centers_and_scales(person.xyxy[None])
    scale = crops.fix_aspect(padded, size)[0]

    def draw_batch(most: float, count: int) -> NDArray[np.float32]:
        return (generator.normal(0, 0.5, count).clip(-1, 1) * most).astype(np.float32)

    moved = center[0] + draw_batch(recipe.shift, 2) * scale
    resized = scale * (1 + draw_batch(recipe.scale, 1)[0])
    matrix = crops.warp_matrix(moved, resized, size, float(draw_batch(recipe.degrees, 1)[0]))
    crop = np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), dtype=np.uint8)
    placed = points[:, :2] @ matrix[:, :2].T.astype(np.float64) + matrix[:, 2]
    visible = (points[:, 2] > 0).astype(np.float32)
    if generator.random() < 0.5:
        crop = crop[:, ::-1]
        flip = list(data.skeleton.flip_indices)
        placed, visible = np.stack([size[0] - 1 - placed[:, 0], placed[:, 1]], axis=1)[flip], visible[flip]
    return View(crops.pixel_values(crop), torch.from_numpy(placed).float(), torch.from_numpy(visible))


def mean_pose(data: PoseData) -> NDArray[np.float64]:
    """The mean position of each point in a box, (K, 2), as shares of the box's width and height: the baseline."""
    total, count = np.zeros((len(data.skeleton), 2)), np.zeros((len(data.skeleton), 1))
    for person in data.persons:
        points = data.points[person.id]
        low, high = person.xyxy[:2].astype(np.float64), person.xyxy[2:].astype(np.float64)
        labelled = points[:, 2:] > 0
        total += np.where(labelled, (points[:, :2] - low) / (high - low), 0.0)
        count += labelled
    return np.where(count > 0, total / np.maximum(count, 1), 0.5)


def mean_pose_points(mean: NDArray[np.float64], persons: Sequence[Person]) -> list[NDArray[np.float64]]:
    """The mean pose, (K, 2), placed into each person's box: (K, 2) in image pixels each."""
    return [
        person.xyxy[:2].astype(np.float64) + mean * (person.xyxy[2:] - person.xyxy[:2]).astype(np.float64)
        for person in persons
    ]
