"""A small checkpoint in the layout of Marigold's published folders, with a random U-Net."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.backbones.small_networks import SD2, stock_unet

# As the published folders have it: v-prediction, no signal at the last timestep, timesteps from that one down.
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
INDEX: dict[str, dict[str, Any]] = {
    "depth": {"_class_name": "MarigoldDepthPipeline", "prediction_type": "depth"},
    "normals": {"_class_name": "MarigoldNormalsPipeline", "prediction_type": "normals"},
}


def write_original(prediction: str, folder: Path, *, unet: Mapping[str, Any] = SD2, scheduler: str = "DDIM") -> Path:
    """The parts of a folder that are taken. unet: configuration of its backbone's U-Net. scheduler: DDIM or LCM."""
    channels = int(unet.get("in_channels", 4))
    stock_unet({**unet, "in_channels": 2 * channels}, seed=len(prediction)).save_pretrained(folder / "unet")
    write_settings(prediction, folder, scheduler=scheduler)
    return folder


def write_settings(prediction: str, folder: Path, *, scheduler: str = "DDIM") -> None:
    """Index and schedule."""
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    schedule = {"_class_name": f"{scheduler}Scheduler", **SCHEDULE}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(schedule))
    index = INDEX[prediction] | {"default_denoising_steps": 2, "default_processing_resolution": 64}
    (folder / "model_index.json").write_text(json.dumps(index))
