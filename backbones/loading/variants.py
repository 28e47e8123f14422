"""Load another U-Net as a variant of a loaded backbone, which keeps its VAE and text encoder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError, ModelNotFound
from backbones.files import replacing_folder, write_json
from backbones.loading.config_files import blaming, read_json
from backbones.loading.file_names import UNET_STEM
from backbones.loading.ldm import UNET, convert_unet, find_lost
from backbones.loading.stock_networks import build_unet
from backbones.loading.weight_files import digest_of, fill, read_tensors, write_tensors
from backbones.stable_diffusion import StableDiffusion, Variant, unet_layout

BASE_REVISION = "base_revision"
"""Entry of config.json if the file holds only fine-tuned weights: the revision of the backbone that has the rest."""
_NONE: Mapping[str, str] = MappingProxyType({})


def load_variant(
    backbone: StableDiffusion,
    name: str,
    source: Path,
    *,
    prediction_type: PredictionType | None = None,
    input_convolutions: Mapping[str, str] = _NONE,
    from_backbone: Sequence[str] = (),
    constant_class_labels: Tensor | None = None,
) -> None:
    """Make the U-Net in `source` available to rows as the variant `name`; tensors equal to the backbone's are shared.

    source: a `unet/` folder, a folder that holds one (twice over, too), or one file with diffusers' key names or with
    LDM's (`model.diffusion_model.*`; other networks in the file are not read).
    constant_class_labels: (F,); it and the other arguments are those of `build_variant`.
    Raises ModelNotFound if nothing is there, CheckpointError where it does not fit the backbone.
    """
    config: dict[str, Any] | None = None
    file = source
    if source.is_dir():
        folder = next(
            (unet_folder for unet_folder in _unet_folders(source) if (unet_folder / "config.json").is_file()), None
        )
        if folder is None:
            raise ModelNotFound(
                f"{source} holds no U-Net", hint="give a folder with config.json and weights, or with unet/ inside"
            )
        config = read_json(folder / "config.json")
        file = folder / f"{UNET_STEM}.safetensors"
        if not file.is_file():
            file = folder / f"{UNET_STEM}.bin"
    backbone.add_variant(
        name,
        build_variant(
            backbone,
            read_tensors(file),
            source=source,
            revision=digest_of(file, json.dumps(config, sort_keys=True), repr(constant_class_labels)),
            config=config,
            prediction_type=prediction_type,
            input_convolutions=input_convolutions,
            from_backbone=from_backbone,
            constant_class_labels=constant_class_labels,
        ),
    )


def base_revision(source: Path) -> str:
    """Revision of the backbone that a folder of fine-tuned parts goes with; empty for whole networks."""
    for folder in _unet_folders(source):
        if (folder / "config.json").is_file():
            return str(read_json(folder / "config.json").get(BASE_REVISION, ""))
    return ""


def check_base_revision(backbone: StableDiffusion, source: Path) -> str:
    """The folder's `base_revision`. Raises CheckpointError if the backbone is of another."""
    parts_of = base_revision(source)
    if parts_of and parts_of != backbone.description.revision:
        raise CheckpointError(
            source,
            f"it holds fine-tuned parts over a backbone of revision {parts_of}; {backbone.name!r} is of revision "
            f"{backbone.description.revision}",
            hint="serve the backbone that it was fitted on, or fit again",
        )
    return parts_of


def save_unet(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, half: bool = False) -> None:
    """Write config and weights of a U-Net, or of a part of one, to `folder/unet` as `load_variant` reads them.

    tensors: key -> tensor of any shape, by diffusers' names. config: of the stock `UNet2DConditionModel`.
    half: weights as float16, else as they are. A `unet` that is there is replaced when the new one is whole.
    """
    weights = {key: tensor.half() if half else tensor for key, tensor in tensors.items()}
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    with replacing_folder(folder / "unet") as beside:
        write_tensors(weights, beside / f"{UNET_STEM}.safetensors")
        write_json(beside / "config.json", public)


def build_variant(
    backbone: StableDiffusion,
    tensors: Mapping[str, Tensor],
    *,
    source: object,
    revision: str,
    prefix: str = "",
    config: Mapping[str, Any] | None = None,
    prediction_type: PredictionType | None = None,
    input_convolutions: Mapping[str, str] = _NONE,
    from_backbone: Sequence[str] = (),
    constant_class_labels: Tensor | None = None,
) -> Variant:
    """A U-Net from tensors in memory, on the device and in the number type of the backbone's own.

    tensors: key -> tensor of any shape, by diffusers' names or LDM's. source: what errors name.
    prefix: of the U-Net's keys, where the file holds other networks too; `model.diffusion_model.` is recognised.
    config: of the stock `UNet2DConditionModel`, entries of others ignored; None is the backbone's own.
    prediction_type: None is the backbone's own.
    input_convolutions: name for rows -> name of the module in the file, such as {"support": "conv_in_ref"}. The file's
    own "conv_in" may be among them: for rows with more channels than the backbone's, whose convolution then stays the
    U-Net's own if `from_backbone` lends it.
    from_backbone: beginnings of diffusers' names that the file may lack; the backbone's own weights stand there
    (a network that only gives features needs no "conv_norm_out.", "conv_out.").
    constant_class_labels: (F,), what a network with a class embedding always gets. Its embedding is then a constant too
    and goes into the bias of the time embedding that it is added to, so rows need no labels.
    Raises CheckpointError with the missing, unexpected and mis-shaped keys where the weights do not fit.
    """
    own = backbone.variants[""]
    own_unet: Any = own.unet
    config = _arguments(config or own_unet.config)
    state = _take_unet(tensors, prefix)
    convolutions = {
        name: _take_convolution(state, module, own_unet, source) for name, module in input_convolutions.items()
    }
    if "conv_in" in input_convolutions.values():
        config |= {"in_channels": own_unet.config.in_channels}
    class_embedding = _take(state, "class_embedding.") if constant_class_labels is not None else {}
    unexpected: tuple[str, ...] = ()
    if any(key.startswith("input_blocks.") for key in state):
        converted = convert_unet(state, config)
        unexpected = find_lost(state, converted)
        state = converted
    if constant_class_labels is not None:
        config |= {"class_embed_type": None, "num_class_embeds": None}
        _fold_class_embedding(state, class_embedding, constant_class_labels, source)
    beginnings = tuple(from_backbone)
    lent = {key: tensor for key, tensor in own_unet.state_dict().items() if beginnings and key.startswith(beginnings)}

    with blaming(source, "it describes no U-Net"):
        unet = build_unet(config)
    _check_widths(backbone, unet.config, source)
    layout = unet_layout(own_unet.dtype, own_unet.device)
    fill(unet, {**lent, **state}, source, own_unet.dtype, layout=layout, unexpected=unexpected, hint=_HINT)
    return Variant(unet.to(own_unet.device), prediction_type or own.prediction_type, revision, convolutions)


_HINT = "a variant needs the architecture of its backbone: SD 1.x weights over an SD 1.x, SD 2.x over an SD 2.x"


def _unet_folders(source: Path) -> tuple[Path, ...]:
    return source, source / "unet", source / "unet" / "unet"


def _take_unet(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The U-Net's tensors under keys without the prefix. An empty prefix finds `model.diffusion_model.` by itself."""
    if not prefix and any(key.startswith(UNET) for key in tensors):
        prefix = UNET
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _check_widths(backbone: StableDiffusion, config: Mapping[str, Any], source: object) -> None:
    """Raises CheckpointError if latents or context of the U-Net have other channels than those of the backbone.

    Called before the tensors are compared: an error of one line, and not of a line for each mis-shaped key.
    """
    own_unet: Any = backbone.variants[""].unet
    for field in ("in_channels", "cross_attention_dim"):
        if config[field] != own_unet.config[field]:
            raise CheckpointError(
                source,
                f"its {field} is {config[field]}, that of the backbone {backbone.name!r} {own_unet.config[field]}",
                hint=_HINT,
            )


def _take(state: dict[str, Tensor], beginning: str) -> dict[str, Tensor]:
    return {key.removeprefix(beginning): state.pop(key) for key in list(state) if key.startswith(beginning)}


def _take_convolution(state: dict[str, Tensor], module: str, own_unet: Any, source: object) -> nn.Conv2d:
    """A further `conv_in` out of `state`: weight (C, channels, k, k), bias (C,)."""
    parameters = _take(state, f"{module}.")
    weight, own = parameters.get("weight"), own_unet.conv_in.weight
    if weight is None:
        raise CheckpointError(source, "an input convolution is missing", missing=[f"{module}.weight"])
    if weight.ndim != 4 or weight.shape[0] != own.shape[0] or weight.shape[2] % 2 == 0:
        belongs = f"{module}.weight: {tuple(weight.shape)} where ({own.shape[0]}, channels, 3, 3) belongs"
        raise CheckpointError(source, "an input convolution does not fit the U-Net", mis_shaped=[belongs])
    with torch.device("meta"):
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
    fill(convolution, parameters, f"{source}, {module}", own.dtype)
    return convolution.eval().requires_grad_(False).to(own.device)


def _fold_class_embedding(
    state: dict[str, Tensor], embedding: Mapping[str, Tensor], labels: Tensor, source: object
) -> None:
    """Add `class_embedding(labels)`, (D,), to the last bias of the time embedding, in float32.

    labels: (F,). Source: diffusers' `UNet2DConditionModel.forward` adds the two embeddings, each of which is
    `TimestepEmbedding`: linear, SiLU, linear.
    """
    needed = [f"linear_{index}.{kind}" for index in (1, 2) for kind in ("weight", "bias")]
    missing = [f"class_embedding.{key}" for key in needed if key not in embedding]
    missing += [key for key in (_TIME_BIAS,) if key not in state]
    if missing:
        raise CheckpointError(source, "the class embedding is missing", missing=missing)
    first_weight, first_bias, second_weight, second_bias = (embedding[key].float() for key in needed)
    if first_weight.shape[1] != len(labels):
        shape = f"class_embedding.linear_1.weight: {tuple(first_weight.shape)} where (.., {len(labels)}) belongs"
        raise CheckpointError(source, "the class embedding has another width", mis_shaped=[shape])
    hidden = functional.silu(functional.linear(labels.float(), first_weight, first_bias))
    constant = functional.linear(hidden, second_weight, second_bias)
    state[_TIME_BIAS] = state[_TIME_BIAS].float() + constant


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a configuration that the stock U-Net takes."""
    from diffusers import UNet2DConditionModel  # takes seconds: only what loads a model pays for it

    parameters = set(inspect.signature(UNet2DConditionModel.__init__).parameters) - {"self"}
    return {key: value for key, value in config.items() if key in parameters}


_TIME_BIAS = "time_embedding.linear_2.bias"
