"""Small U-Nets in the architectures of SD 1 and SD 2, and files with the keys or the shapes of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.published_keys import Shapes
from backbones.loading.registry import ModelEntry
from backbones.stable_diffusion import StableDiffusion, Variant
from tests.backbones.small_models import WEIGHTS

_SMALL: dict[str, Any] = {
    "block_out_channels": (10, 20, 40, 40),
    "layers_per_block": 2,
    "norm_num_groups": 5,
    "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SD1 = _SMALL | {"cross_attention_dim": 24, "attention_head_dim": 2}
SD2 = _SMALL | {"cross_attention_dim": 32, "attention_head_dim": (1, 2, 2, 2), "use_linear_projection": True}


def small(shapes: Shapes) -> dict[str, Tensor]:
    """Random tensors of published names, every width a 32nd of the published one."""
    generator = torch.Generator().manual_seed(len(shapes))

    def side(size: int) -> int:
        return size // 32 if size >= 128 and size % 32 == 0 else size

    return {key: torch.randn([side(size) for size in shape], generator=generator) for key, shape in shapes.items()}


def stock_unet(config: dict[str, Any], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**config)  # type: ignore[no-untyped-call]


def backbone_like(config: dict[str, Any]) -> StableDiffusion:
    """A backbone whose U-Net has a variant's architecture and other weights."""
    stock = load_diffusers_folder(WEIGHTS / "sd1")
    return StableDiffusion(
        name="small",
        vae=stock.vae,
        text_encoder=stock.text_encoder,
        tokenizer=stock.tokenizer,
        variants={"": Variant(stock_unet(config, seed=9), "epsilon", "0")},
        alphas_cumprod=stock.alphas_cumprod,
    )


def write_sparse(shapes: Shapes, file: Path) -> None:
    """A safetensors file in float16 whose gigabytes of zeros take no room on the disk."""
    header: dict[str, Any] = {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as written:
        written.write(len(text).to_bytes(8, "little") + text)
        written.truncate(8 + len(text) + end)


def entry_of(kind: str, folder: Path) -> ModelEntry:
    """An entry whose files lie in `folder/weights`."""
    return ModelEntry(folder, kind, kind, "", "", "", "", "", "", True, {})


def values(shapes: Shapes) -> int:
    """How many values all tensors hold."""
    return sum(torch.Size(shape).numel() for shape in shapes.values())
