"""Load a Stable Diffusion folder in the diffusers layout: unet/, vae/, text_encoder/, tokenizer/, scheduler/."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.config_files import blaming, read_json
from backbones.loading.file_names import find_file_variant, find_weight_files
from backbones.loading.stock_networks import build_text_encoder, build_unet, build_vae, with_current_names
from backbones.loading.weight_files import fill, read_tensors
from backbones.stable_diffusion import StableDiffusion, Variant, unet_layout


def load_diffusers_folder(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    name: str = "",
    file_variant: str = "",
) -> StableDiffusion:
    """A Stable Diffusion 1.x or 2.x backbone from a diffusers folder, without the network.

    Weights are safetensors, or `.bin` files read with `weights_only=True`.
    file_variant: "fp16" reads `diffusion_pytorch_model.fp16.safetensors` and the like; "" reads the plain files, or a
    variant's if a part has no others.
    Raises ModelNotFound if the folder or a part of it is missing, CheckpointError where weights do not fit.
    """
    if not (folder / "model_index.json").is_file():
        raise ModelNotFound(
            f"{folder} holds no model_index.json, so it is not a diffusers folder",
            hint="give the folder that holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        )
    alphas_cumprod, prediction_type = read_schedule(folder / "scheduler")
    unet = load_part(build_unet, folder / "unet", dtype, file_variant, unet_layout(dtype, device))
    vae = load_part(build_vae, folder / "vae", dtype, file_variant)
    text_encoder = load_part(build_text_encoder, folder / "text_encoder", dtype, file_variant)
    check_latent_channels(unet, vae, folder)
    return StableDiffusion(
        name=name or folder.name,
        vae=vae.to(device),
        text_encoder=text_encoder.to(device),
        tokenizer=load_tokenizer(folder / "tokenizer"),
        variants={"": Variant(unet.to(device), prediction_type, folder_digest(folder))},
        alphas_cumprod=alphas_cumprod,
    )


def load_part(
    build: Callable[[Mapping[str, Any]], nn.Module],
    folder: Path,
    dtype: torch.dtype,
    file_variant: str = "",
    layout: torch.memory_format = torch.contiguous_format,
) -> nn.Module:
    """One network of a diffusers folder, every weight accounted for.

    build: its stock class from a configuration, with or without memory for weights. file_variant: as of
    `load_diffusers_folder`. layout: of convolution weights in memory.
    Raises ModelNotFound if the folder has no config, CheckpointError for a damaged file, and for missing, unexpected or
    mis-shaped weights.
    """
    network = build_part(build, folder)
    files = find_weight_files(folder, file_variant or find_file_variant(folder))
    if not files:
        kind = f"{file_variant} weights" if file_variant else "weights"
        raise CheckpointError(folder, f"it holds no {kind}", hint="copy or download the folder again")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)
    fill(network, with_current_names(tensors, network), folder, dtype, layout=layout)
    return network


def build_part(build: Callable[[Mapping[str, Any]], nn.Module], folder: Path) -> nn.Module:
    """One network of a diffusers folder as its config.json describes it, without values.

    build: as of `load_part`. Raises ModelNotFound if there is no config.json, CheckpointError if it is damaged.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ModelNotFound(
            f"{folder} holds no config.json", hint="the folder is incomplete: copy or download it again"
        )
    with blaming(config, "it describes no network"):
        return build(read_json(config))


def check_latent_channels(unet: Any, vae: Any, source: object) -> None:
    """Raises CheckpointError if the U-Net takes other input than the VAE's latents, as inpainting networks do."""
    if unet.config.in_channels != vae.config.latent_channels:
        raise CheckpointError(
            source,
            f"the U-Net takes {unet.config.in_channels} channels, the VAE's latents have {vae.config.latent_channels}",
            hint="networks for inpainting, editing or upscaling are no backbones: give a plain text-to-image one",
        )


def load_tokenizer(folder: Path) -> Any:
    """The folder's CLIP tokenizer. Raises ModelNotFound if its files are missing, CheckpointError if one is damaged."""
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"{folder} holds neither vocab.json nor tokenizer.json", hint="copy the folder again, whole"
        )
    from transformers import CLIPTokenizer

    if (folder / "tokenizer_config.json").is_file():
        read_json(folder / "tokenizer_config.json")
    with blaming(folder, "it describes no tokenizer"):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def read_schedule(folder: Path) -> tuple[Tensor, PredictionType]:
    """Share of signal (steps,) float32, and prediction type, as the folder's scheduler_config.json gives them.

    The scheduler's class does not matter: only its betas do.
    Raises ModelNotFound if the file is missing, CheckpointError for prediction types other than epsilon and v.
    """
    file = folder / "scheduler_config.json"
    config = _read_schedule_config(file)
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise CheckpointError(
            file,
            f"prediction_type {prediction_type!r} is neither 'epsilon' nor 'v_prediction'",
            hint="networks that predict the latents themselves are no backbones; if the file is damaged, copy it again",
        )
    return _alphas_cumprod(config, file), prediction_type


def read_alphas_cumprod(file: Path) -> Tensor:
    """Share of signal (steps,) float32, as a scheduler_config.json gives it; diffusers' defaults for missing entries.

    Raises ModelNotFound if the file is missing, CheckpointError if it is no JSON object or its values are unusable.
    """
    return _alphas_cumprod(_read_schedule_config(file), file)


def _read_schedule_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ModelNotFound(f"{file} is missing", hint="copy the folder again, whole")
    return read_json(file)


def _alphas_cumprod(config: Mapping[str, Any], file: Path) -> Tensor:
    from diffusers import DDPMScheduler

    betas = {key: config[key] for key in _BETA_KEYS if key in config}
    with blaming(file, "it describes no noise schedule"):
        scheduler: Any = DDPMScheduler(**betas)  # type: ignore[no-untyped-call]
    alphas_cumprod: Tensor = scheduler.alphas_cumprod
    return alphas_cumprod


_BETA_KEYS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr",
)  # fmt: skip


def folder_digest(folder: Path) -> str:
    """Digest of all that decides an answer: weights, configs and vocabularies of a model folder, in name order."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".ckpt", ".pt", ".json", ".txt"):
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
