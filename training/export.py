"""Writes the trained parts as an ordinary diffusers folder in float16, and reads such a folder."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from backbones.files import write_json
from training.denoiser import Denoiser
from training.stock import AutoencoderKL, CLIPTextModel, CLIPTokenizer, DDIMScheduler, UNet2DConditionModel
from training.tokenizer import load_tokenizer

_PARTS = {
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "scheduler": ("diffusers", "DDIMScheduler"),
    "safety_checker": (None, None),
    "feature_extractor": (None, None),
}


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """The stock classes that make up a Stable Diffusion folder."""

    autoencoder: AutoencoderKL
    denoiser: Denoiser
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def write_folder(parts: NetworkParts, tokenizer_folder: Path, folder: Path) -> None:
    """Writes the parts to `folder`, weights in float16 safetensors; an existing README.md is left unchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, Any] = {
        "vae": parts.autoencoder,
        "text_encoder": parts.denoiser.text_encoder,
        "unet": parts.denoiser.unet,
    }
    for name, network in networks.items():
        half = deepcopy(network).to(memory_format=torch.contiguous_format).half()
        half.save_pretrained(folder / name, safe_serialization=True)
    # transformers loads in the number type that the config names, diffusers in float32: here both are float32.
    text_config = folder / "text_encoder" / "config.json"
    write_json(text_config, {**json.loads(text_config.read_text(encoding="utf-8")), "dtype": "float32"})
    parts.scheduler.save_pretrained(folder / "scheduler")
    shutil.copytree(tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        **{name: list(classes) for name, classes in _PARTS.items()},
        "requires_safety_checker": False,
    }
    write_json(folder / "model_index.json", index)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors gives only the owner access; other users read an installed package


def read_folder(folder: Path) -> NetworkParts:
    """The parts of an exported folder, by their stock loaders, in float32 and eval mode."""
    autoencoder = AutoencoderKL.from_pretrained(folder, subfolder="vae", local_files_only=True)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", local_files_only=True)
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    denoiser = Denoiser(text_encoder, unet)
    return NetworkParts(autoencoder.eval(), denoiser.eval(), load_tokenizer(folder / "tokenizer"), scheduler)


def folder_bytes(folder: Path) -> int:
    """Size of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
