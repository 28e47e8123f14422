"""Small checkpoints as the training programs of VPD's three tasks write them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backbones.loading.published_keys import vae_encoder_keys
from heads.vpd.published_keys import head_keys
from tests.backbones.original_layout import rename_modules, unet_modules
from tests.backbones.small_networks import SD1, small, stock_unet

ATTENDS = (True, True, True, False)


def original_tensors(task: str) -> dict[str, Tensor]:
    """A small checkpoint; its U-Net is `stock_unet(SD1)`, renamed by code that the product does not have."""
    prefix = "encoder." if task == "depth" else ""
    unet = rename_modules(stock_unet(SD1).state_dict(), unet_modules(2, ATTENDS), f"{prefix}unet.unet.diffusion_model.")
    if task == "depth":
        unet = {key: tensor for key, tensor in unet.items() if ".diffusion_model.out." not in key}
    vae = {f"{prefix}encoder_vq.{key}": tensor for key, tensor in small(vae_encoder_keys()).items()}
    schedule = {"sd_model.betas": torch.zeros(10)} if task == "segmentation" else {}
    return unet | vae | small(head_keys(task)) | schedule


def write_original(task: str, file: Path) -> Path:
    """The file with the other entries that the task's training program writes."""
    tensors = original_tensors(task)
    if task == "segmentation":
        meta = {"CLASSES": ["wall"], "mIoU": np.float64(0.537)}
        torch.save({"state_dict": tensors, "meta": meta, "optimizer": {"state": {}}}, file)
    elif task == "referring":
        torch.save({"model": tensors, "epoch": 39, "args": argparse.Namespace(img_size=512)}, file)
    else:
        torch.save({"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}, file)
    return file
