"""Fine-tunes a U-Net to predict depth or normals from the latents of an image, in one step and without noise.

The single step is that of networks fine-tuned end to end (Garcia et al., arXiv:2409.11355). The loss here is the
squared error of the latents instead of the decoded prediction, so no step decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from backbones.captures import forward_rows
from backbones.engine import DirectEngine, complete, embed_unpadded
from backbones.errors import InvalidInput
from backbones.files import write_json
from backbones.loading.config_files import read_json
from backbones.loading.variants import BASE_REVISION, save_unet
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion, Variant
from heads.marigold.model import INDEX_FILE, NOISE, PAIR, SCHEDULER_FILE, Modality
from heads.marigold.preprocess import fit_image
from training.datasets.dense_folder import DenseFolder, Sample
from training.datasets.depth_normals import FIELD_OF_VIEW, normals_of_depth
from training.parts import learns

TIMESTEP = 999
"""The only timestep of a schedule that begins at its end."""
START_TIMESTEP = 50
"""The timestep that a new network's time embedding imitates: the backbone knows pictures best at low noise."""
_EMBEDDING_BIAS = "time_embedding.linear_2.bias"
SCHEDULE: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
"""The last timestep has no signal, as in the published networks."""
_PIPELINES: dict[Modality, str] = {"depth": "MarigoldDepthPipeline", "normals": "MarigoldNormalsPipeline"}
_LOW, _HIGH = 2, 98

LatentPair = tuple[Tensor, Tensor, Tensor]
"""Scaled latents of a picture and of its truth, (C, h, w) each, and where the truth is known, (h, w) bool."""


@dataclass(frozen=True, slots=True)
class MarigoldRecipe:
    """The hyperparameters of a fine-tuning.

    parts: beginnings or parts of the names of parameters that learn, beside the input convolution and the bias of the
    time embedding; empty for all. resolution: longer side in pixels of training images. field_of_view: of the pictures,
    in degrees from the lower to the upper edge; normals are computed from depth with it.
    """

    steps: int = 4_000
    batch: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    parts: tuple[str, ...] = ()
    resolution: int = 0
    field_of_view: float = FIELD_OF_VIEW
    seed: int = 0


def paint_depth(metres: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The target image of a network for depth (H, W), 0 if there is none: (H, W, 3) in [-1, 1], and where it is known.

    The 2nd and 98th percentile of a picture become -1 and 1. Source: Marigold (arXiv:2312.02145), section 3.2.
    """
    valid = metres > 0
    low, high = np.percentile(metres[valid], (_LOW, _HIGH)) if valid.any() else (0.0, 1.0)
    scaled = np.clip((metres - low) / max(high - low, 1e-6), 0, 1) * 2 - 1
    painted = np.where(valid, scaled, 1).astype(np.float32)
    return np.repeat(painted[..., None], 3, axis=2), valid


def fresh_pair_variant(model: StableDiffusion) -> Variant:
    """The initial network of training: the backbone's own U-Net, which sees the image as at a timestep of low noise.

    The input convolution has the backbone's weights for the image, and zeros for the prediction; the bias of the time
    embedding makes the only timestep of the schedule look like `START_TIMESTEP`.
    """
    own = model.variants[""]
    unet: Any = deepcopy(own.unet)
    convolution = unet.conv_in
    pair = torch.nn.Conv2d(2 * convolution.in_channels, convolution.out_channels, 3, padding=1)
    with torch.no_grad():
        pair.weight.copy_(torch.cat([convolution.weight, torch.zeros_like(convolution.weight)], dim=1))
        if pair.bias is not None and convolution.bias is not None:
            pair.bias.copy_(convolution.bias)
        places = torch.tensor([START_TIMESTEP, TIMESTEP], device=convolution.weight.device)
        start, end = unet.time_embedding(unet.time_proj(places).to(convolution.weight.dtype))
        unet.get_parameter(_EMBEDDING_BIAS).add_(start - end)
    pair = pair.to(convolution.weight.device, convolution.weight.dtype)
    return Variant(unet, own.prediction_type, f"{own.revision}-pair-start", {PAIR: pair})


def one_step_loss(variant: Variant, pairs: Sequence[LatentPair], context: Tensor) -> Tensor:
    """Mean squared error over known latents between the truth and the result of one step from zeros, a scalar.

    The network predicts the velocity, which without any signal is minus the truth.
    """
    rows = [
        UNetRow(
            torch.cat([image, torch.zeros_like(image)]),
            TIMESTEP,
            context,
            Capture(output=True),
            input_convolution=PAIR,
        )
        for image, _, _ in pairs
    ]
    outputs = [capture.output for capture in forward_rows(variant.unet, rows, variant.input_convolutions)]
    predicted = -torch.stack([output for output in outputs if output is not None])
    weights = torch.stack([valid for _, _, valid in pairs])[:, None].to(predicted.dtype)
    errors = functional.mse_loss(predicted, torch.stack([truth for _, truth, _ in pairs]), reduction="none")
    return (errors * weights).sum() / (weights.sum() * predicted.shape[1]).clamp(min=1)


def fine_tune(
    model: StableDiffusion,
    prediction: Modality,
    folder: DenseFolder,
    recipe: MarigoldRecipe,
    *,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Variant:
    """A variant that predicts depth or normals, fitted to pictures with depth and to their mirror images.

    VAE and text encoder stay as they are. AdamW, its rate falling to nothing, gradient norm clipped at 1.
    on_step: called with the step and its loss.
    """
    variant = fresh_pair_variant(model)
    unet: Any = variant.unet
    names = [name for name, _ in unet.named_parameters() if name == _EMBEDDING_BIAS or learns(name, recipe.parts)]
    learning = [*(unet.get_parameter(name) for name in names), *variant.input_convolutions[PAIR].parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    engine = DirectEngine(model)
    context = complete(embed_unpadded(engine, "")).clone()
    latents = _latents(engine, prediction, folder, recipe)
    optimizer = torch.optim.AdamW(learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=recipe.steps)
    random = np.random.default_rng(recipe.seed)
    unet.train()
    for step in range(recipe.steps):
        places = random.integers(len(folder.samples), size=recipe.batch).tolist()
        mirrored = random.integers(2, size=recipe.batch).tolist()
        loss = one_step_loss(variant, [latents(*pair) for pair in zip(places, mirrored, strict=True)], context)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        falling.step()
        on_step(step, float(loss.detach()))
    for parameter in learning:
        parameter.requires_grad_(False)
    unet.eval()
    return variant


def check_folder_for_marigold(folder: Path) -> None:
    """Raises InvalidInput if `save_marigold` would replace a U-Net that it has not written."""
    index = folder / INDEX_FILE
    own = index.is_file() and read_json(index).get(NOISE) == "zeros"
    if (folder / "unet").exists() and not own:
        raise InvalidInput("out", f"{folder} holds another network's unet/", hint="name a folder of its own")


def save_marigold(
    variant: Variant,
    model: StableDiffusion,
    prediction: Modality,
    folder: Path,
    recipe: MarigoldRecipe,
    *,
    half: bool = False,
) -> None:
    """Write the network in Marigold's layout: all of it, or with parts only its differences from this backbone.

    half: as float16. `folder/unet` is complete or does not exist; other files in `folder` stay.
    Raises what `check_folder_for_marigold` raises.
    """
    check_folder_for_marigold(folder)
    unet: Any = variant.unet
    own = model.variants[""].unet.state_dict()
    state = {
        name: tensor
        for name, tensor in unet.state_dict().items()
        if not (recipe.parts and torch.equal(tensor, own[name]))
    }
    state |= {f"conv_in.{name}": tensor for name, tensor in variant.input_convolutions[PAIR].state_dict().items()}
    config = {**unet.config, "in_channels": 2 * int(unet.config["in_channels"])}
    if recipe.parts:
        config[BASE_REVISION] = model.description.revision
    index = {
        "_class_name": _PIPELINES[prediction],
        "prediction_type": prediction,
        "default_denoising_steps": 1,
        "default_processing_resolution": recipe.resolution or model.description.image_size,
        NOISE: "zeros",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCHEDULER_FILE).parent.mkdir(exist_ok=True)
    write_json(folder / SCHEDULER_FILE, SCHEDULE)
    write_json(folder / INDEX_FILE, index)
    save_unet(folder, state, config, half=half)


def _latents(
    engine: DirectEngine, prediction: Modality, folder: DenseFolder, recipe: MarigoldRecipe
) -> Callable[[int, int], LatentPair]:
    """Returns the latents of a sample, by its index, or of its mirror image; they are cached."""
    described = engine.backbone
    resolution = recipe.resolution or described.image_size

    def encode(pixels: Tensor) -> Tensor:
        return complete(engine.encode([pixels]))[0].clone() * described.scaling_factor

    def read(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        image, metres = folder.image(sample), folder.truth(sample)
        if metres.shape != image.shape[:2]:
            hint = "save it in the upright image's size"
            raise InvalidInput(str(sample.truth), "has another size than its image", hint=hint)
        if prediction == "depth":
            return image, *paint_depth(metres)
        return image, *normals_of_depth(metres, recipe.field_of_view)

    @lru_cache(maxsize=16384)
    def of(place: int, mirrored: int) -> LatentPair:
        image, painted, valid = read(folder.samples[place])
        if mirrored:
            image, painted, valid = image[:, ::-1], painted[:, ::-1], valid[:, ::-1]
            if prediction == "normals":
                painted = painted * np.array([-1, 1, 1], np.float32)
        pixels, size = fit_image(np.ascontiguousarray(image), resolution, described.downscale)
        maps = torch.from_numpy(np.concatenate([painted, valid[..., None]], axis=2).transpose(2, 0, 1).copy()).float()
        maps = functional.interpolate(maps[None], size, mode="nearest-exact")
        padding = (0, pixels.shape[2] - size[1], 0, pixels.shape[1] - size[0])
        truth = functional.pad(maps[:, :3], padding, mode="replicate")[0]
        cells = functional.pad(maps[:, 3:], padding)
        whole = -functional.max_pool2d(-cells, described.downscale)[0, 0] > 0.5
        return encode(pixels), encode(truth), whole

    return of
