"""A folder as DiffewS publishes it, with a small network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.backbones.small_networks import SD2, stock_unet


def write_original(folder: Path) -> Path:
    """Config and weights, below `folder/unet`."""
    support = {"conv_in_ref.weight": torch.randn(10, 8, 3, 3), "conv_in_ref.bias": torch.randn(10)}
    config = SD2 | {"_class_name": "MyUNet2DConditionModel", "in_channels_ref": 8}
    (folder / "unet").mkdir(parents=True)
    save_file(stock_unet(SD2).state_dict() | support, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "unet/config.json").write_text(json.dumps(config))
    return folder
