"""The small Stable Diffusion folders of the conformance fixtures, and what their configurations say beyond shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel

from backbones.loading.ldm_config import Unrecorded

WEIGHTS = Path(__file__).parents[1] / "conformance/fixtures/diffusion_classifier/weights"
NAMES = ("sd1", "sd2", "sd2v")

UNRECORDED = {
    "sd1": Unrecorded(attention_heads=4, norm_groups=4, text_heads=4, image_size=64),
    "sd2": Unrecorded(
        prediction_type="epsilon",
        attention_heads=(2, 4, 4, 4),
        norm_groups=4,
        text_heads=4,
        text_layers=2,
        image_size=64,
    ),
    "sd2v": Unrecorded(
        prediction_type="v_prediction",
        attention_heads=(2, 4, 4, 4),
        norm_groups=4,
        text_heads=4,
        text_layers=2,
        image_size=64,
    ),
}


def save_small_dit(folder: Path, *, names: Mapping[str, str], classes: int = 3) -> None:
    """A random class-conditional transformer over 8 x 8 pixels, as a `DiTPipeline` folder. names: id2label."""
    torch.manual_seed(0)
    network: Any = DiTTransformer2DModel
    network(
        num_attention_heads=2,
        attention_head_dim=8,
        out_channels=8,
        num_layers=1,
        sample_size=4,
        num_embeds_ada_norm=classes,
    ).save_pretrained(folder / "transformer")
    build: Any = AutoencoderKL
    build(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    scheduler: Any = DDIMScheduler
    scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline", "id2label": dict(names)}))
