"""Fine-tuning a U-Net for few-shot segmentation, as DiffewS was: one step from picture to mask, in latent space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backbones.captures import forward_rows
from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.variants import BASE_REVISION, save_unet
from backbones.rows import Bank
from backbones.stable_diffusion import StableDiffusion, Variant
from heads.diffews.bank import SUPPORT, bank_capture, bank_of, concatenate_banks, prompt_context, support_row
from heads.diffews.checkpoint import fresh_variant
from heads.diffews.preprocess import mask_pixel_values, pixel_values, resize_labels
from heads.diffews.segment import query_row
from heads.image_files import check_stems, images_in
from heads.pixels import read_class_map, read_picture
from training.parts import learns

_SUPPORT_CHANNELS = "in_channels_ref"
"""A key of DiffewS's configurations that no other U-Net has."""

LatentPair = tuple[Tensor, Tensor]
"""Scaled latents of a picture and of its mask, (C, h, w) each."""


def episode_loss(
    variant: Variant, supports: Sequence[Sequence[LatentPair]], queries: Sequence[LatentPair], context: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared error between the U-Net's output and minus the latent of the query's mask.

    supports: those of each query, at least one; their number may differ. queries: one for each episode. context: (T,
    D). Returns the loss, a scalar, and the outputs (B, C, h, w).

    Nothing is detached: the second input convolution and the support pass learn through the keys and values that the
    queries read. Source: `train_tools/train_icl_multitask_nocrop_nearest_nshot_v3.py`.
    """
    layers = self_attentions(variant)
    capture = bank_capture(layers)
    rows = [support_row(*pair, context, capture) for episode in supports for pair in episode]
    captured = iter(forward_rows(variant.unet, rows, variant.input_convolutions))
    banks: list[Bank] = [concatenate_banks([bank_of(next(captured), layers) for _ in episode]) for episode in supports]
    query_rows = [query_row(latents, context, bank) for (latents, _), bank in zip(queries, banks, strict=True)]
    outputs = [capture.output for capture in forward_rows(variant.unet, query_rows, variant.input_convolutions)]
    prediction = torch.stack([output for output in outputs if output is not None])
    target = -torch.stack([mask for _, mask in queries])
    return functional.mse_loss(prediction, target), prediction


def self_attentions(variant: Variant) -> list[str]:
    """Names of the layers whose keys and values are read by queries."""
    modules = variant.unet.named_modules()
    return [name for name, module in modules if getattr(module, "is_cross_attention", None) is False]


@dataclass(frozen=True, slots=True)
class FewShotRecipe:
    """The hyperparameters of a fine-tuning.

    parts: beginnings or parts of the names of parameters that learn; empty for all, as published. batch: episodes of a
    step. shots: supports of an episode, of which each step uses a random number.
    """

    steps: int = 10_000
    batch: int = 4
    shots: int = 2
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    parts: tuple[str, ...] = ()
    seed: int = 0


def read_labelled_folder(images: Path, masks: Path, most: int = 0) -> dict[int, list[tuple[Path, Path]]]:
    """Pairs of files by class: images/NAME.jpg or .png with masks/NAME.png of class indices, 0 background, 255 ignored.

    most: maximum number of images, 0 for all.
    Raises ModelNotFound for an image without a mask, InvalidInput if no class has two images.
    """
    by_class: dict[int, list[tuple[Path, Path]]] = {}
    for file in check_stems(images_in(images))[: most or None]:
        mask = masks / f"{file.stem}.png"
        if not mask.is_file():
            raise ModelNotFound(f"{mask} is missing", hint="give a mask of class indices for every image")
        for class_id in np.unique(read_class_map(mask)).tolist():
            if class_id not in (0, 255):
                by_class.setdefault(class_id, []).append((file, mask))
    usable = {class_id: pairs for class_id, pairs in by_class.items() if len(pairs) > 1}
    if not usable:
        raise InvalidInput("masks", "no class is on two images", hint="an episode needs a query and a support")
    return usable


def fine_tune(
    model: StableDiffusion,
    pairs: Mapping[int, Sequence[tuple[Path, Path]]],
    recipe: FewShotRecipe,
    *,
    size: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Variant:
    """A few-shot variant fine-tuned on episodes of `pairs`; VAE and text encoder stay unchanged.

    AdamW, its rate falling to nothing, gradient norm clipped at 1. Latents are the posterior's means and the context is
    that of inference, where the original samples and pads: training then sees what serving does.
    on_step: called with the step and its loss.
    Source: `train_tools/train_icl_multitask_nocrop_nearest_nshot_v3.py`.
    """
    variant = fresh_variant(model)
    convolution = variant.input_convolutions[SUPPORT]
    own = {name: parameter for name, parameter in variant.unet.named_parameters() if learns(name, recipe.parts)}
    learning = [*own.values(), *convolution.parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    engine = DirectEngine(model)
    context = complete(prompt_context(engine)).clone()
    latents = _latents(engine, size)
    optimizer = torch.optim.AdamW(learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=recipe.steps)
    random = np.random.default_rng(recipe.seed)
    classes = sorted(pairs)
    variant.unet.train()
    for step in range(recipe.steps):
        supports, queries = [], []
        for _ in range(recipe.batch):
            class_id = classes[random.integers(len(classes))]
            members = pairs[class_id]
            kept = int(random.integers(1, recipe.shots + 1))
            drawn = random.permutation(len(members))[: kept + 1]
            query, *rest = [latents(members[place], class_id) for place in drawn.tolist()]
            queries.append(query)
            supports.append(rest)
        loss, _ = episode_loss(variant, supports, queries, context)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        falling.step()
        on_step(step, float(loss.detach()))
    for parameter in learning:
        parameter.requires_grad_(False)
    variant.unet.eval()
    return variant


def check_folder_for_few_shot(folder: Path) -> None:
    """Raises InvalidInput if `save_few_shot` would replace a U-Net that it has not written."""
    config = folder / "unet" / "config.json"
    own = config.is_file() and f'"{_SUPPORT_CHANNELS}"'.encode() in config.read_bytes()
    if (folder / "unet").exists() and not own:
        raise InvalidInput("out", f"{folder} holds another network's unet/", hint="name a folder of its own")


def save_few_shot(
    variant: Variant, model: StableDiffusion, folder: Path, parts: Sequence[str] = (), *, half: bool = False
) -> None:
    """Write the variant in DiffewS's layout: all of it, or with `parts` only the trained ones, for this backbone only.

    half: as float16. `folder/unet` is complete or does not exist; other files in `folder` stay. Raises what
    `check_folder_for_few_shot` raises.
    """
    check_folder_for_few_shot(folder)
    unet: Any = variant.unet
    state = {name: tensor for name, tensor in unet.state_dict().items() if learns(name, parts)}
    state |= {
        f"conv_in_ref.{name}": tensor for name, tensor in variant.input_convolutions[SUPPORT].state_dict().items()
    }
    config = dict(unet.config)
    config[_SUPPORT_CHANNELS] = 2 * int(config["in_channels"])
    if parts:
        config[BASE_REVISION] = model.description.revision
    save_unet(folder, state, config, half=half)


def _latents(engine: DirectEngine, size: int) -> Callable[[tuple[Path, Path], int], LatentPair]:
    """Scaled latents of a picture and of its class's mask, (C, h, w) each; those of pictures are cached."""

    def encode(pixels: Tensor) -> Tensor:
        return complete(engine.encode([pixels]))[0].clone() * engine.backbone.scaling_factor

    @lru_cache(maxsize=8192)
    def of(image: Path, mask: Path, class_id: int) -> LatentPair:
        picture = read_picture(image)
        classes = read_class_map(mask)
        if classes.shape != picture.shape[:2]:
            raise InvalidInput(str(mask), "has another size than its image", hint="save it in the upright image's size")
        labels = resize_labels(classes == class_id, size)
        return encode(pixel_values(picture, size)), encode(mask_pixel_values(labels))

    return lambda pair, class_id: of(*pair, class_id)
