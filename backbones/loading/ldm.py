"""Load a single-file Stable Diffusion 1.x or 2.x checkpoint under its original (LDM) key names, without the network.

The networks' sizes are read from the shapes, and diffusers' own converters translate the key names of U-Net and VAE.
`Unrecorded` holds properties that a file does not record, with the published models' values as defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError
from backbones.loading.clip_vocabulary import END, clip_tokenizer
from backbones.loading.diffusers_folder import check_latent_channels, folder_digest, load_tokenizer
from backbones.loading.ldm_config import AS_PUBLISHED, OPEN_CLIP_LAYER, Unrecorded, text_config, unet_config, vae_config
from backbones.loading.stock_networks import build_text_encoder, build_unet, build_vae
from backbones.loading.weight_files import digest_of, fill, read_tensors
from backbones.stable_diffusion import StableDiffusion, Variant, unet_layout

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_EMA = "model_ema.diffusion_model"
_CLIP, _OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."


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

    The U-Net's plain weights are used; the averaged ones (`model_ema.*`) only if there are no others.
    tokenizer: a folder to read instead of CLIP's public vocabulary.
    Raises ModelNotFound if the file or the vocabulary is not there; CheckpointError where the file is damaged, is no
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
    layout = unet_layout(dtype, device)
    _fill_converted(unet, parts.unet, convert_unet(parts.unet, unet.config), file, dtype, layout)
    fill(text_encoder, convert_text(parts.text, parts.is_open_clip, text_encoder), file, dtype)
    check_latent_channels(unet, vae, file)

    vocabulary = load_tokenizer(tokenizer) if tokenizer else clip_tokenizer("!" if parts.is_open_clip else END)
    if len(vocabulary) > text_encoder.config.vocab_size:
        raise CheckpointError(
            file,
            f"its text encoder has {text_encoder.config.vocab_size} tokens, but the tokenizer {len(vocabulary)}",
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
class CheckpointParts:
    """The tensors of the three networks by their original names, less the prefix of each.

    unet, vae, text: key -> tensor of the original's shape. is_open_clip: SD 2.x's text encoder, else SD 1.x's.
    """

    unet: Mapping[str, Tensor]
    vae: Mapping[str, Tensor]
    text: Mapping[str, Tensor]
    is_open_clip: bool


def split_parts(tensors: Mapping[str, Tensor], source: object) -> CheckpointParts:
    """The three networks' tensors out of a whole checkpoint: key -> tensor of any shape, without the trainer's own.

    Raises CheckpointError if one of the three is not there.
    """
    is_open_clip = not any(key.startswith(_CLIP) for key in tensors)
    parts = CheckpointParts(
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
            "this is no complete Stable Diffusion 1.x or 2.x checkpoint in the original layout",
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
    # The last digit is the place inside a block, which has at most three places.
    split = [re.sub(r"^((?:input|output)_blocks)(\d+)(\d)$", r"\1.\2.\3", word) for word in words]
    numbered = r"^(middle_block|time_embed|transformer_blocks|\w+_layers|to_out|net|out)(\d)$"
    return ".".join(re.sub(numbered, r"\1.\2", word) for word in split)


def convert_unet(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The U-Net's tensors under diffusers' names; those that have no name there are left out.

    tensors: original name inside the network -> tensor of any shape. Returns stock name -> the same tensors.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    converted: dict[str, Tensor] = convert_ldm_unet_checkpoint(  # type: ignore[no-untyped-call]
        {UNET + key: tensor for key, tensor in tensors.items()}, config
    )
    return converted


def convert_vae(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The VAE's tensors under diffusers' names; those that have no name there are left out.

    tensors: original name inside the network -> tensor of any shape; the attention's 1x1 convolutions (C, C, 1, 1)
    become the matrices (C, C) that diffusers holds. Returns stock name -> tensor.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    converted: dict[str, Tensor] = convert_ldm_vae_checkpoint(  # type: ignore[no-untyped-call]
        {VAE + key: tensor for key, tensor in tensors.items()}, config
    )
    return converted


def convert_text(tensors: Mapping[str, Tensor], is_open_clip: bool, text_encoder: nn.Module) -> dict[str, Tensor]:
    """The text encoder's tensors under the stock names.

    tensors: original name inside the network -> tensor of any shape; joint projections (3 C, C) are split in three.
    Layers that are not run, and what only CLIP's own training needs, are left out. Returns stock name -> tensor.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    if is_open_clip:
        run = getattr(text_encoder.config, "num_hidden_layers", 0)
        unused = ("logit_scale", "text_projection", "attn_mask")
        kept = {
            key: tensor
            for key, tensor in tensors.items()
            if key not in unused and not ((match := OPEN_CLIP_LAYER.match(key)) and int(match[1]) >= run)
        }
        prefixed = {_OPEN_CLIP + key: tensor for key, tensor in kept.items()}
        converted: dict[str, Tensor] = convert_open_clip_checkpoint(text_encoder, prefixed)  # type: ignore[no-untyped-call]
        converted_ids = {id(tensor) for tensor in converted.values()}
        # Unknown tensors keep their names, so that `fill` reports them.
        converted |= {
            key: tensor
            for key, tensor in kept.items()
            if id(tensor) not in converted_ids and ".attn.in_proj_" not in key
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
    layout: torch.memory_format = torch.contiguous_format,
) -> None:
    lost = find_lost(original, converted)
    fill(network, converted, source, dtype, layout=layout, unexpected=lost, hint=_HINT)


_HINT = "the file is incomplete or no SD 1.x or 2.x: download it again, or give another"


def find_lost(original: Mapping[str, Tensor], converted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of tensors, of any shape, that a converter passed over."""
    converted_ids = {id(tensor) for tensor in converted.values()}
    return tuple(
        key
        for key, tensor in original.items()
        if id(tensor) not in converted_ids and not _VAE_ATTENTION.search(key)  # these were reshaped
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
        "an SD 2.x file does not say whether its U-Net predicts the noise or v",
        hint="give prediction_type: 'epsilon' for SD 2-base and 2.1-base (512 pixels), 'v_prediction' for 2 and 2.1 "
        "(768 pixels); or keep the published file name",
    )


def _alphas_cumprod(tensors: Mapping[str, Tensor]) -> Tensor:
    """The published schedule, (1000,) float32, unless the file holds another one of its own."""
    from diffusers import DDPMScheduler

    scheduler: Any = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")  # type: ignore[no-untyped-call]
    published: Tensor = scheduler.alphas_cumprod
    own = tensors.get("alphas_cumprod")
    # Files hold it in other roundings; with diffusers' values both layouts of a model give the same results.
    if own is None or (own.shape == published.shape and torch.allclose(own.float(), published, rtol=0, atol=1e-3)):
        return published
    return own.float()
