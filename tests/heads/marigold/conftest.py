"""Small random networks of Marigold's layout over a small backbone, and diffusers' own pipelines of them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion
from tests.heads.marigold.original_files import SCHEDULE

WEIGHTS = Path(__file__).parents[2] / "conformance/fixtures/diffusion_classifier/weights"
SavePipeline = Callable[..., Any]


@pytest.fixture(scope="package")
def backbone() -> StableDiffusion:
    """A Stable Diffusion 2 of 64 x 64 pixels."""
    return load_diffusers_folder(WEIGHTS / "sd2")


@pytest.fixture(scope="package")
def engine(backbone: StableDiffusion) -> DirectEngine:
    return DirectEngine(backbone)


@pytest.fixture(scope="package")
def save_pipeline(backbone: StableDiffusion) -> SavePipeline:
    """`save_pipeline(folder, "depth", scheduler="LCMScheduler")` writes a pipeline as published, and returns it."""
    return lambda folder, prediction, **config: build_pipeline(backbone, folder, prediction, **config)


def build_pipeline(
    backbone: StableDiffusion, folder: Path, prediction: str, *, scheduler: str = "DDIMScheduler", **config: Any
) -> Any:
    """A pipeline of diffusers with a random U-Net over the backbone's parts, saved to `folder`."""
    own: Any = backbone.variants[""].unet
    torch.manual_seed(len(prediction))
    stock: Any = import_module("diffusers")
    unet = stock.UNet2DConditionModel(**{**own.config, "in_channels": 2 * own.config.in_channels})
    kind = {"depth": stock.MarigoldDepthPipeline, "normals": stock.MarigoldNormalsPipeline}[prediction]
    schedule = dict(SCHEDULE)
    if scheduler == "LCMScheduler":
        schedule = {key: value for key, value in SCHEDULE.items() if key not in ("steps_offset",)}
    pipeline = kind(
        unet=unet.eval(),
        vae=deepcopy(backbone.vae),
        scheduler=getattr(stock, scheduler)(**schedule),
        text_encoder=backbone.text_encoder,
        tokenizer=backbone.tokenizer,
        prediction_type=prediction,
        **{"default_denoising_steps": 3, "default_processing_resolution": 64, **config},
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline


def picture(seed: int, height: int = 50, width: int = 70) -> NDArray[np.uint8]:
    """A noisy picture with a bright bar."""
    pixels = np.random.default_rng(seed).integers(0, 90, (height, width, 3), dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 3 :] = 240
    return pixels
