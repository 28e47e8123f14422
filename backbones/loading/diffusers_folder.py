"""Load a Stable Diffusion folder in the diffusers layout: unet/, vae/, text_encoder/, tokenizer/, scheduler/."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from backbones.backbone import PredictionType
from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.file_names import find_file_variant
from backbones.loading.private_memory import own_memory
from backbones.stable_diffusion import StableDiffusion, Variant, unet_layout

# Old text encoders store their position indices as a buffer; it is a constant today.
HARMLESS = ("text_model.embeddings.position_ids", "embeddings.position_ids")
"""Keys that files may have although current networks do not."""


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
    # These imports take ten seconds: only what loads a model pays for them.
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    if not (folder / "model_index.json").is_file():
        raise ModelNotFound(
            f"{folder} holds no model_index.json, so it is not a diffusers folder",
            hint="give the folder that holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        )
    alphas_cumprod, prediction_type = read_schedule(folder / "scheduler")
    unet = load_part(UNet2DConditionModel, folder / "unet", dtype, file_variant, unet_layout(dtype, device))
    vae = load_part(AutoencoderKL, folder / "vae", dtype, file_variant)
    text_encoder = load_part(CLIPTextModel, folder / "text_encoder", dtype, file_variant)
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
    kind: Any,
    folder: Path,
    dtype: torch.dtype,
    file_variant: str = "",
    layout: torch.memory_format = torch.contiguous_format,
) -> nn.Module:
    """One network of a diffusers folder by its stock class, every weight accounted for.

    file_variant: as of `load_diffusers_folder`. layout: of convolution weights in memory.
    Raises ModelNotFound if the folder has no config, CheckpointError for missing, unexpected or mis-shaped weights.
    """
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{folder} holds no config.json", hint="the folder is incomplete: copy or download it again"
        )
    try:
        with _no_progress_bars():
            network, info = kind.from_pretrained(
                folder,
                torch_dtype=dtype,
                output_loading_info=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                ignore_mismatched_sizes=True,  # they are listed below
                variant=file_variant or find_file_variant(folder) or None,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(folder, reason, hint="copy or download the folder again") from error
    missing = sorted(info["missing_keys"])
    unexpected = sorted(key for key in info["unexpected_keys"] if key not in HARMLESS)
    mis_shaped = [f"{key}: {tuple(stored)} where {tuple(own)} belongs" for key, stored, own in info["mismatched_keys"]]
    if missing or unexpected or mis_shaped:
        raise CheckpointError(
            folder,
            f"the weights do not fit {kind.__name__} as config.json describes it",
            missing=missing,
            unexpected=unexpected,
            mis_shaped=mis_shaped,
        )
    loaded: nn.Module = network
    own_memory(loaded, layout)
    return loaded


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Without progress bars for reading from a local disk, which takes seconds; downloads keep theirs."""
    from transformers.utils import logging as transformers_logging

    if not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def check_latent_channels(unet: Any, vae: Any, source: object) -> None:
    """Raises CheckpointError if the U-Net takes other input than the VAE's latents, as inpainting networks do."""
    if unet.config.in_channels != vae.config.latent_channels:
        raise CheckpointError(
            source,
            f"the U-Net takes {unet.config.in_channels} channels, the VAE's latents have {vae.config.latent_channels}",
            hint="networks for inpainting, editing or upscaling are no backbones: give a plain text-to-image one",
        )


def load_tokenizer(folder: Path) -> Any:
    """The folder's CLIP tokenizer. Raises ModelNotFound if its files are missing."""
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"{folder} holds neither vocab.json nor tokenizer.json", hint="copy the folder again, whole"
        )
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def read_schedule(folder: Path) -> tuple[Tensor, PredictionType]:
    """Share of signal (steps,) float32, and prediction type, as the folder's scheduler_config.json gives them.

    The scheduler's class does not matter: only its betas do.
    Raises ModelNotFound if the file is missing, CheckpointError for prediction types other than epsilon and v.
    """
    from diffusers import DDPMScheduler

    file = folder / "scheduler_config.json"
    if not file.is_file():
        raise ModelNotFound(f"{file} is missing", hint="copy the folder again, whole")
    config = json.loads(file.read_text())
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise CheckpointError(file, f"prediction_type {prediction_type!r} is neither 'epsilon' nor 'v_prediction'")
    betas = {key: config[key] for key in _BETA_KEYS if key in config}
    scheduler: Any = DDPMScheduler(**betas)  # type: ignore[no-untyped-call]
    return scheduler.alphas_cumprod, prediction_type


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
