"""Load a single-file Stable Diffusion 1.x or 2.x checkpoint under its original (LDM) key names, without the network.

The networks' sizes are read off the shapes, the U-Net's and the VAE's key names are translated by diffusers' own
converters, and what neither names nor shapes tell is `Unrecorded`, with the published models' values as defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError
from backbones.loading.clip_vocabulary import END, clip_tokenizer
from backbones.loading.diffusers_folder import check_latent_channels, folder_digest, load_tokenizer
from backbones.loading.weight_files import digest_of, fill, read_tensors
from backbones.stable_diffusion import StableDiffusion, Variant

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_EMA = "model_ema.diffusion_model"
_CLIP, _OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """What a single file does not tell; None stands for the published models' value.

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


def load_single_file(
    file: Path,
    unrecorded: Unrecorded = AS_PUBLISHED,
    *,
    tokenizer: Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    name: str = "",
) -> StableDiffusion:
    """A backbone from one `.safetensors` file, or one `.ckpt` file read with `weights_only=True`.

    Of the U-Net's two sets of weights the plain one is taken, and the averaged one (`model_ema.*`) where it is alone.
    tokenizer: a folder to read instead of CLIP's public vocabulary.
    Raises ModelNotFound where the file or the vocabulary is not there; CheckpointError where the file is damaged, is no
    SD 1.x or 2.x, or leaves the prediction type open.
    """
    tensors = read_tensors(file)
    parts = split_parts(tensors, file)
    prediction_type = _prediction_type(unrecorded, parts.is_open_clip, file)
    image_size = unrecorded.image_size or (768 if prediction_type == "v_prediction" else 512)

    vae = build_vae(vae_config(parts.vae, unrecorded, file))
    downscale = 2 ** (len(vae.config.block_out_channels) - 1)
    unet = build_unet(unet_config(parts.unet, unrecorded, file, sample_size=image_size // downscale))
    text_encoder = build_text_encoder(text_config(parts.text, parts.is_open_clip, unrecorded, file))
    _fill_converted(vae, parts.vae, convert_vae(parts.vae, vae.config), file, dtype)
    _fill_converted(unet, parts.unet, convert_unet(parts.unet, unet.config), file, dtype)
    fill(text_encoder, convert_text(parts.text, parts.is_open_clip, text_encoder), file, dtype)
    check_latent_channels(unet, vae, file)

    vocabulary = load_tokenizer(tokenizer) if tokenizer else clip_tokenizer("!" if parts.is_open_clip else END)
    if len(vocabulary) > text_encoder.config.vocab_size:
        raise CheckpointError(
            file,
            f"its text encoder knows {text_encoder.config.vocab_size} tokens, the tokenizer {len(vocabulary)}",
            hint="give `tokenizer`: the folder of the tokenizer that it was trained with",
        )
    revision = digest_of(file, repr(unrecorded), folder_digest(tokenizer) if tokenizer else "")
    return StableDiffusion(
        name=name or file.stem,
        vae=vae.to(device),
        text_encoder=text_encoder.to(device),
        tokenizer=vocabulary,
        variants={"": Variant(unet.to(device), prediction_type, revision)},
        alphas_cumprod=_alphas_cumprod(tensors),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The tensors of the three networks by their original names, less the prefix of each.

    unet, vae, text: key -> tensor of the original's shape. is_open_clip: SD 2.x's text encoder, else SD 1.x's.
    """

    unet: Mapping[str, Tensor]
    vae: Mapping[str, Tensor]
    text: Mapping[str, Tensor]
    is_open_clip: bool


def split_parts(tensors: Mapping[str, Tensor], source: object) -> Parts:
    """The three networks' tensors out of a whole checkpoint: key -> tensor of any shape, without the trainer's own.

    Raises CheckpointError where one of the three is not there.
    """
    is_open_clip = not any(key.startswith(_CLIP) for key in tensors)
    parts = Parts(
        unet=unet_tensors(tensors),
        vae={
            key: tensor for key, tensor in _below(VAE, tensors).items() if not key.startswith(("loss.", "model_ema."))
        },
        text=_below(_OPEN_CLIP if is_open_clip else _CLIP, tensors),
        is_open_clip=is_open_clip,
    )
    text = f"{_CLIP}* or {_OPEN_CLIP}*"
    missing = [
        name for name, part in ((f"{UNET}*", parts.unet), (f"{VAE}*", parts.vae), (text, parts.text)) if not part
    ]
    if missing:
        others = sorted({".".join(key.split(".")[:2]) + ".*" for key in tensors if not key.startswith((UNET, VAE))})
        raise CheckpointError(
            source,
            "this is no whole Stable Diffusion 1.x or 2.x checkpoint in its original layout",
            missing=missing,
            unexpected=others if len(others) < 100 else (),
            hint="SD XL, SD 3 and single networks do not load as a backbone; diffusers folders load by their folder",
        )
    return parts


def unet_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's tensors, of any shape, by their names inside the network; the averaged ones if they are alone."""
    plain = _below(UNET, tensors)
    return plain or {_undo_flattening(key): tensor for key, tensor in _below(_EMA, tensors).items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


_WORDS = re.compile(
    r"(?:input|output)_blocks\d+|middle_block\d|time_embed\d|transformer_blocks\d|(?:in|out|emb)_layers\d"
    r"|skip_connection|proj_in|proj_out|proj|to_out\d|to_[qkv]|attn[12]|norm[123]?|ff|net\d|conv|op|out\d|weight|bias"
)


def _undo_flattening(key: str) -> str:
    """`input_blocks.10.0.in_layers.0.weight` from `input_blocks100in_layers0weight`: averages lose the dots.

    Source: `LitEma` of CompVis/latent-diffusion, `ldm/modules/ema.py`.
    """
    words = _WORDS.findall(key)
    if "".join(words) != key:
        return key
    # The last digit of a block's number is the place inside the block, which has three places at most.
    split = [re.sub(r"^((?:input|output)_blocks)(\d+)(\d)$", r"\1.\2.\3", word) for word in words]
    numbered = r"^(middle_block|time_embed|transformer_blocks|\w+_layers|to_out|net|out)(\d)$"
    return ".".join(re.sub(numbered, r"\1.\2", word) for word in split)


def unet_config(
    tensors: Mapping[str, Tensor], unrecorded: Unrecorded, source: object, *, sample_size: int
) -> dict[str, Any]:
    """Arguments of the stock `UNet2DConditionModel` whose weights these are.

    tensors: original name inside the network -> tensor; shapes are read, also on the meta device.
    Raises CheckpointError where blocks are missing or are not laid out as in SD 1.x and 2.x.
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

    tensors: original name inside the network -> tensor; shapes are read, also on the meta device.
    Raises CheckpointError where blocks are missing.
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
_OPEN_CLIP_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.")
_OPEN_CLIP_LAYERS_RUN = 23


def text_config(
    tensors: Mapping[str, Tensor], is_open_clip: bool, unrecorded: Unrecorded, source: object
) -> dict[str, Any]:
    """Arguments of the stock `CLIPTextConfig` of the text encoder whose weights these are.

    tensors: original name inside the network -> tensor; shapes are read, also on the meta device.
    Raises CheckpointError where embeddings or layers are missing.
    """
    if is_open_clip:
        token, position = "token_embedding.weight", "positional_embedding"
        layer, wide = _OPEN_CLIP_LAYER, "transformer.resblocks.0.mlp.c_fc.weight"
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
        "num_hidden_layers": unrecorded.text_layers or (min(layers, _OPEN_CLIP_LAYERS_RUN) if is_open_clip else layers),
        "num_attention_heads": unrecorded.text_heads or max(width // 64, 1),
        "max_position_embeddings": _shape(tensors, position, source)[0],
        "hidden_act": "gelu" if is_open_clip else "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def _shape(tensors: Mapping[str, Tensor], key: str, source: object) -> torch.Size:
    if key not in tensors:
        raise CheckpointError(source, "a tensor that tells the network's size is not there", missing=[key])
    return tensors[key].shape


def build_unet(config: Mapping[str, Any]) -> Any:
    """The stock U-Net without memory for its weights, which `fill` gives it."""
    with torch.device("meta"):
        return UNet2DConditionModel(**config)  # type: ignore[no-untyped-call]


def build_vae(config: Mapping[str, Any]) -> Any:
    """The stock VAE without memory for its weights, which `fill` gives it."""
    with torch.device("meta"):
        return AutoencoderKL(**config)  # type: ignore[no-untyped-call]


def build_text_encoder(config: Mapping[str, Any]) -> Any:
    """The stock text encoder without memory for its weights, which `fill` gives it."""
    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**config))
    # The one buffer that is no weight: positions, in order.
    embeddings = getattr(network, "text_model", network).embeddings
    embeddings.position_ids = torch.arange(network.config.max_position_embeddings)[None]
    return network


def convert_unet(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The U-Net's tensors under diffusers' names; those that have no name there are left out.

    tensors: original name inside the network -> tensor of any shape. Returns stock name -> the same tensors.
    """
    converted: dict[str, Tensor] = convert_ldm_unet_checkpoint(  # type: ignore[no-untyped-call]
        {UNET + key: tensor for key, tensor in tensors.items()}, config
    )
    return converted


def convert_vae(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The VAE's tensors under diffusers' names; those that have no name there are left out.

    tensors: original name inside the network -> tensor of any shape; the attention's 1x1 convolutions (C, C, 1, 1)
    become the matrices (C, C) that diffusers holds. Returns stock name -> tensor.
    """
    converted: dict[str, Tensor] = convert_ldm_vae_checkpoint(  # type: ignore[no-untyped-call]
        {VAE + key: tensor for key, tensor in tensors.items()}, config
    )
    return converted


def convert_text(tensors: Mapping[str, Tensor], is_open_clip: bool, text_encoder: nn.Module) -> dict[str, Tensor]:
    """The text encoder's tensors under the stock names.

    tensors: original name inside the network -> tensor of any shape; joint projections (3 C, C) are split in three.
    Layers that are not run, and what only CLIP's own training needs, are left out. Returns stock name -> tensor.
    """
    if is_open_clip:
        run = getattr(text_encoder.config, "num_hidden_layers", 0)
        unused = ("logit_scale", "text_projection", "attn_mask")
        kept = {
            key: tensor
            for key, tensor in tensors.items()
            if key not in unused and not ((match := _OPEN_CLIP_LAYER.match(key)) and int(match[1]) >= run)
        }
        prefixed = {_OPEN_CLIP + key: tensor for key, tensor in kept.items()}
        converted: dict[str, Tensor] = convert_open_clip_checkpoint(text_encoder, prefixed)  # type: ignore[no-untyped-call]
        known = {id(tensor) for tensor in converted.values()}
        # Unknown ones stay under their own names, for `fill` to report.
        converted |= {
            key: tensor for key, tensor in kept.items() if id(tensor) not in known and ".attn.in_proj_" not in key
        }
    else:
        converted = {key: tensor for key, tensor in tensors.items() if not key.endswith("embeddings.position_ids")}
    wrapper = "text_model." if hasattr(text_encoder, "text_model") else ""
    return {wrapper + key.removeprefix("text_model."): tensor for key, tensor in converted.items()}


def _fill_converted(
    network: nn.Module,
    original: Mapping[str, Tensor],
    converted: Mapping[str, Tensor],
    source: object,
    dtype: torch.dtype,
) -> None:
    fill(network, converted, source, dtype, unexpected=lost(original, converted), hint=_HINT)


_HINT = "the file is incomplete or no SD 1.x or 2.x: download it again, or give another"


def lost(original: Mapping[str, Tensor], converted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of tensors, of any shape, that a converter passed over."""
    known = {id(tensor) for tensor in converted.values()}
    return tuple(
        key
        for key, tensor in original.items()
        if id(tensor) not in known and not _VAE_ATTENTION.search(key)  # these were reshaped
    )


_VAE_ATTENTION = re.compile(r"^(?:en|de)coder\.mid\.attn_1\.(?:q|k|v|proj_out)\.weight$")


def _prediction_type(unrecorded: Unrecorded, is_open_clip: bool, file: Path) -> PredictionType:
    if unrecorded.prediction_type:
        return unrecorded.prediction_type
    if not is_open_clip or "512" in file.stem:
        return "epsilon"
    if "768" in file.stem:
        return "v_prediction"
    raise CheckpointError(
        file,
        "an SD 2.x file does not tell whether its U-Net predicts the noise or v",
        hint="give prediction_type: 'epsilon' for SD 2-base and 2.1-base (512 pixels), 'v_prediction' for 2 and 2.1 "
        "(768 pixels); or keep the published file name",
    )


def _alphas_cumprod(tensors: Mapping[str, Tensor]) -> Tensor:
    """The published schedule, (1000,) float32, unless the file holds another one of its own."""
    scheduler: Any = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")  # type: ignore[no-untyped-call]
    published: Tensor = scheduler.alphas_cumprod
    own = tensors.get("alphas_cumprod")
    # Files carry it in other roundings; the one from diffusers makes both layouts of one model answer alike.
    if own is None or (own.shape == published.shape and torch.allclose(own.float(), published, rtol=0, atol=1e-3)):
        return published
    return own.float()
