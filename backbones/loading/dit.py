"""Load a DiT (arXiv:2212.09748) into diffusers' own class: the original's checkpoints, and `DiTPipeline` folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.class_conditional import DiffusionTransformer
from backbones.errors import CheckpointError
from backbones.loading.config_files import blaming, read_json
from backbones.loading.diffusers_folder import folder_digest, load_part, read_schedule
from backbones.loading.stock_networks import build_vae
from backbones.loading.weight_files import digest_of, fill, read_tensors

# Attention heads of the published sizes S, B, L and XL by their width; the weights do not hold their number.
_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}

_BLOCK = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
_SHARED = {
    "t_embedder.mlp.0": "norm1.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "norm1.emb.timestep_embedder.linear_2",
    "y_embedder.embedding_table": "norm1.emb.class_embedder.embedding_table",
}
_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}


def load_dit(
    file: Path,
    *,
    heads: int | None = None,
    vae: Path | None = None,
    class_names: tuple[str, ...] = (),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> DiffusionTransformer:
    """The network of a checkpoint of the original's code, such as `DiT-XL-2-256x256.pt`.

    heads: attention heads; None takes the number of the published network of this width. vae: folder of the VAE in the
    diffusers layout (the published networks use `sd-vae-ft-ema`); None leaves it out.
    Raises ModelNotFound if a file is missing, CheckpointError where weights do not fit.
    """
    tensors = read_tensors(file)
    transformer = transformer_from(tensors, file, heads=heads, dtype=dtype)
    return DiffusionTransformer(
        name=file.stem,
        transformer=transformer.to(device),
        vae=None if vae is None else load_part(build_vae, vae, dtype).to(device),
        revision=digest_of(file, *(() if vae is None else (folder_digest(vae),))),
        class_names=class_names,
    )


def load_dit_folder(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", name: str = ""
) -> DiffusionTransformer:
    """A `DiTPipeline` folder: transformer/, vae/ and scheduler/, class names in model_index.json.

    Raises ModelNotFound if a part is missing, CheckpointError where weights do not fit.
    """
    index = read_json(folder / "model_index.json")
    transformer = load_part(_build_transformer, folder / "transformer", dtype)
    with blaming(folder / "model_index.json", "its id2label names no classes"):
        names = {int(number): str(label) for number, label in (index.get("id2label") or {}).items()}
    count: int = transformer.config.num_embeds_ada_norm  # type: ignore[union-attr, assignment]
    return DiffusionTransformer(
        name=name or folder.name,
        transformer=as_trained(transformer).to(device),
        vae=load_part(build_vae, folder / "vae", dtype).to(device),
        revision=folder_digest(folder),
        class_names=tuple(names.get(number, str(number)) for number in range(count)),
        alphas_cumprod=read_schedule(folder / "scheduler")[0],
    )


def is_dit_folder(folder: Path) -> bool:
    """Whether a folder is a `DiTPipeline`, by what its model_index.json says."""
    try:
        return read_json(folder / "model_index.json").get("_class_name") == "DiTPipeline"
    except CheckpointError:
        return False


def _build_transformer(config: Mapping[str, Any]) -> nn.Module:
    """The stock network, with memory for its weights: positions are computed with it, and stored in no file."""
    from diffusers import DiTTransformer2DModel  # takes seconds: only what loads a model pays for it

    network: nn.Module = DiTTransformer2DModel.from_config(dict(config))  # type: ignore[no-untyped-call]
    return network


def transformer_from(
    tensors: Mapping[str, Tensor], source: object, *, heads: int | None, dtype: torch.dtype
) -> nn.Module:
    """The stock network with the original's weights. tensors: by the original's keys, of any shape it has."""
    from diffusers import DiTTransformer2DModel

    try:
        width, channels, patch, _ = tensors["x_embedder.proj.weight"].shape
        classes = len(tensors["y_embedder.embedding_table.weight"]) - 1
        layers = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("blocks."))
        out_channels = len(tensors["final_layer.linear.weight"]) // patch**2
        positions = tensors["pos_embed"]
        feed_forward = len(tensors["blocks.0.mlp.fc1.weight"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            source, f"it is no DiT checkpoint ({error})", hint="give a file of the original"
        ) from error
    heads = heads or _HEADS.get(width)
    if heads is None or width % heads or feed_forward != 4 * width:
        raise CheckpointError(source, f"width {width} with {heads} heads is no DiT", hint="pass the number of heads")
    # The stock class is untyped.
    build: Any = DiTTransformer2DModel
    transformer: Any = build(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=channels,
        out_channels=out_channels,
        num_layers=layers,
        sample_size=patch * math.isqrt(positions.shape[1]),
        patch_size=patch,
        num_embeds_ada_norm=classes,
        norm_eps=1e-6,
    )
    renamed, unexpected = diffusers_keys(tensors, layers)
    fill(transformer, renamed, source, dtype, unexpected=unexpected)
    # A constant in diffusers, a stored parameter in the original.
    transformer.pos_embed.pos_embed = positions.to(dtype)
    return as_trained(transformer)


def diffusers_keys(tensors: Mapping[str, Tensor], layers: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The original's tensors, of any shape, under diffusers' keys, with q, k and v split; and the keys left over.

    diffusers gives every block embeddings of timestep and class of its own; they hold the same tensors.
    """
    renamed: dict[str, Tensor] = {}
    unexpected = []
    for key, tensor in tensors.items():
        module, _, kind = key.rpartition(".")
        number, _, inner = module.removeprefix("blocks.").partition(".")
        if module in _ENDS:
            renamed[f"{_ENDS[module]}.{kind}"] = tensor
        elif module in _SHARED:
            for block in range(layers):
                renamed[f"transformer_blocks.{block}.{_SHARED[module]}.{kind}"] = tensor
        elif module.startswith("blocks.") and inner in _BLOCK:
            renamed[f"transformer_blocks.{number}.{_BLOCK[inner]}.{kind}"] = tensor
        elif module.startswith("blocks.") and inner == "attn.qkv":
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"transformer_blocks.{number}.attn1.to_{name}.{kind}"] = part
        elif key != "pos_embed":
            unexpected.append(key)
    return renamed, tuple(unexpected)


def as_trained(transformer: nn.Module) -> nn.Module:
    """The network with the original's timestep frequencies, 10000^(-i/128).

    diffusers' class spreads them over 127 steps instead; the weights, those of its own folders too, were trained by the
    original.
    """
    blocks: Any = transformer.transformer_blocks
    for block in blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    return transformer
