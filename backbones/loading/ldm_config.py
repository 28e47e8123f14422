"""The sizes of a Stable Diffusion's networks, from the shapes of a checkpoint with LDM's key names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Properties that a single file does not state; None is the value of the published models.

    prediction_type: epsilon for SD 1.x. SD 2.x was published both ways: a file name with "512" in it means epsilon, one
    with "768" v_prediction, as the published files are called; any other name needs this field.
    image_size: native height and width in pixels: 768 for v-prediction, else 512.
    attention_heads: of the U-Net, one number or one a level: 8 in SD 1.x; in SD 2.x every head has 64 channels.
    norm_groups: of the group norms in U-Net and VAE.
    text_heads: of the text encoder: every head has 64 channels.
    text_layers: how many of the text encoder's layers are run: all in SD 1.x; in SD 2.x 23 of OpenCLIP's 24, with the
    final norm after them.
    scaling_factor: of the VAE's latents.
    """

    prediction_type: PredictionType | None = None
    image_size: int | None = None
    attention_heads: int | tuple[int, ...] | None = None
    norm_groups: int = 32
    text_heads: int | None = None
    text_layers: int | None = None
    scaling_factor: float = 0.18215


AS_PUBLISHED = Unrecorded()
"""SD 1.x and 2.x as they were published."""


def unet_config(
    tensors: Mapping[str, Tensor], unrecorded: Unrecorded, source: object, *, sample_size: int
) -> dict[str, Any]:
    """Arguments of the stock `UNet2DConditionModel` whose weights these are.

    tensors: original name inside the network -> tensor of any shape, also on the meta device.
    Raises CheckpointError if blocks are missing or are not laid out as in SD 1.x and 2.x.
    """
    levels: list[list[tuple[int, bool]]] = [[]]
    count = 1 + max((int(key.split(".")[1]) for key in tensors if key.startswith("input_blocks.")), default=0)
    for index in range(1, count):
        if f"input_blocks.{index}.0.op.weight" in tensors:
            levels.append([])
            continue
        channels = _shape(tensors, f"input_blocks.{index}.0.in_layers.2.weight", source)[0]
        levels[-1].append((channels, any(key.startswith(f"input_blocks.{index}.1.") for key in tensors)))
    depth = len(levels[0])
    if depth == 0 or any(len(level) != depth or len(set(level)) != 1 for level in levels):
        raise CheckpointError(source, f"the U-Net's blocks (channels, attention) {levels} are not laid out as in SD")
    widths = tuple(width for width, _ in (level[0] for level in levels))
    attends = [attend for _, attend in (level[0] for level in levels)]

    blocks = [key.removesuffix("attn2.to_k.weight") for key in tensors if key.endswith("attn2.to_k.weight")]
    if not blocks:
        raise CheckpointError(source, "the U-Net has no attention to text", missing=["*.attn2.to_k.weight"])
    context = _shape(tensors, f"{blocks[0]}attn2.to_k.weight", source)[1]
    is_linear = len(_shape(tensors, f"{blocks[0].split('.transformer_blocks')[0]}.proj_in.weight", source)) == 2
    heads = unrecorded.attention_heads or (tuple(max(width // 64, 1) for width in widths) if is_linear else 8)
    return {
        "sample_size": sample_size,
        "in_channels": _shape(tensors, "input_blocks.0.0.weight", source)[1],
        "out_channels": tensors["out.2.weight"].shape[0] if "out.2.weight" in tensors else 4,
        "block_out_channels": widths,
        "layers_per_block": depth,
        "down_block_types": tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        "cross_attention_dim": context,
        # By the name of a size, diffusers means the number of heads here (huggingface/diffusers, issue 2011).
        "attention_head_dim": heads,
        "use_linear_projection": is_linear,
        # As SD 2.1 is published: it changes nothing in float32, and keeps half precision from overflowing.
        "upcast_attention": is_linear,
        "norm_num_groups": unrecorded.norm_groups,
    }


def vae_config(tensors: Mapping[str, Tensor], unrecorded: Unrecorded, source: object) -> dict[str, Any]:
    """Arguments of the stock `AutoencoderKL` whose weights these are.

    tensors: original name inside the network -> tensor of any shape, also on the meta device.
    Raises CheckpointError if blocks are missing.
    """
    blocks = {tuple(map(int, match.groups())) for key in tensors if (match := _VAE_BLOCK.match(key))}
    levels = 1 + max((level for level, _ in blocks), default=-1)
    depth = 1 + max((index for _, index in blocks), default=-1)
    widths = [_shape(tensors, f"encoder.down.{level}.block.0.conv2.weight", source)[0] for level in range(levels)]
    return {
        "in_channels": _shape(tensors, "encoder.conv_in.weight", source)[1],
        "out_channels": _shape(tensors, "encoder.conv_in.weight", source)[1],
        "block_out_channels": widths,
        "layers_per_block": depth,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": _shape(tensors, "quant_conv.weight", source)[0] // 2,
        "norm_num_groups": unrecorded.norm_groups,
        "scaling_factor": unrecorded.scaling_factor,
    }


_VAE_BLOCK = re.compile(r"encoder\.down\.(\d+)\.block\.(\d+)\.")
OPEN_CLIP_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.")
OPEN_CLIP_LAYERS_RUN = 23


def text_config(
    tensors: Mapping[str, Tensor], is_open_clip: bool, unrecorded: Unrecorded, source: object
) -> dict[str, Any]:
    """Arguments of the stock `CLIPTextConfig` of the text encoder whose weights these are.

    tensors: original name inside the network -> tensor of any shape, also on the meta device.
    Raises CheckpointError if embeddings or layers are missing.
    """
    if is_open_clip:
        token, position = "token_embedding.weight", "positional_embedding"
        layer, wide = OPEN_CLIP_LAYER, "transformer.resblocks.0.mlp.c_fc.weight"
    else:
        tensors = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
        token, position = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
        layer, wide = re.compile(r"encoder\.layers\.(\d+)\."), "encoder.layers.0.mlp.fc1.weight"
    vocabulary, width = _shape(tensors, token, source)
    layers = 1 + max((int(match[1]) for key in tensors if (match := layer.match(key))), default=0)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(tensors, wide, source)[0],
        "num_hidden_layers": unrecorded.text_layers or (min(layers, OPEN_CLIP_LAYERS_RUN) if is_open_clip else layers),
        "num_attention_heads": unrecorded.text_heads or max(width // 64, 1),
        "max_position_embeddings": _shape(tensors, position, source)[0],
        "hidden_act": "gelu" if is_open_clip else "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def _shape(tensors: Mapping[str, Tensor], key: str, source: object) -> torch.Size:
    if key not in tensors:
        raise CheckpointError(source, "a tensor that determines the network's size is missing", missing=[key])
    return tensors[key].shape
