"""Networks of the published sizes with random weights, or small networks of the same structure, on any device."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from backbones.backbone import PredictionType
from backbones.loading.diffusers_folder import load_tokenizer, read_schedule
from backbones.stable_diffusion import StableDiffusion, Variant
from heads.vpd.checkpoint import NETWORKS
from heads.vpd.published_keys import head_keys
from tests.backbones.small_models import WEIGHTS
from tests.backbones.small_networks import stock_unet
from tests.service.models.small_catalogue import FULL, Sizes, build_vae, text_config

Kind = Literal["sd15", "sd21"]


def build_unet(kind: Kind, dtype: torch.dtype, device: str, sizes: Sizes = FULL) -> Any:
    """The U-Net of a backbone."""
    config, seed = sizes.backbones[kind]
    with torch.device(device):
        unet = stock_unet(config, seed)
    return nn.Module.to(unet, dtype).eval().requires_grad_(False)


def build_encoder(dtype: torch.dtype, device: str, sizes: Sizes = FULL) -> Any:
    """The VAE of both backbones."""
    with torch.device(device):
        vae: Any = build_vae(0, sizes)
    return nn.Module.to(vae, dtype).eval().requires_grad_(False)


def build_head(task: Literal["depth", "segmentation", "referring"], device: str) -> Any:
    """The published network of a VPD task, always float32."""
    shapes = {key: torch.empty(shape, device="meta") for key, shape in head_keys(task).items()}
    network: Any = NETWORKS[task](shapes, task)
    return (network if device == "meta" else network.to_empty(device=device)).eval().requires_grad_(False)


def build_backbone(kind: Kind, dtype: torch.dtype, device: str, sizes: Sizes = FULL) -> StableDiffusion:
    """A whole backbone with random weights. The tokenizer is a small one; every text encoder here has its ids."""
    config, seed = sizes.backbones[kind]
    described = text_config(config, sizes.text[kind] if sizes.whole else None)
    torch.manual_seed(seed)
    with torch.device(device):
        text: Any = CLIPTextModel(CLIPTextConfig(**described))
    predicts: PredictionType = "v_prediction" if kind == "sd21" else "epsilon"
    return StableDiffusion(
        name=kind,
        vae=build_encoder(dtype, device, sizes),
        text_encoder=text.to(dtype),
        tokenizer=load_tokenizer(WEIGHTS / "sd1/tokenizer"),
        variants={"": Variant(build_unet(kind, dtype, device, sizes), predicts, f"random-{kind}")},
        alphas_cumprod=read_schedule(WEIGHTS / "sd1/scheduler")[0],
    )
