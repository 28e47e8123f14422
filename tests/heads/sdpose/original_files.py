"""Folders as SDPose publishes them, with small networks."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from heads.sdpose.published_keys import head_keys
from tests.backbones.small_networks import SD2, small, stock_unet

CONFIG = SD2 | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}


def write_original(skeleton: str, folder: Path) -> Path:
    """The parts of a folder that are taken."""
    for part in ("unet", "decoder", "scheduler"):
        (folder / part).mkdir(parents=True)
    save_file(stock_unet(CONFIG).state_dict(), folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "unet/config.json").write_text(json.dumps(CONFIG))
    save_file(small(head_keys(skeleton)), folder / "decoder/decoder.safetensors")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "sample"}))
    return folder
