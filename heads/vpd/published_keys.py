"""Keys and shapes of VPD's published checkpoints: SD 1's U-Net, the VAE's encoder, and one head for each task."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from backbones.loading.published_keys import Shapes, read_shapes, sd1_unet_keys, vae_encoder_keys

UNET, VAE, SCHEDULE = "unet.unet.diffusion_model.", "encoder_vq.", "sd_model."
"""Prefixes of keys that are ignored: the noise schedule in segmentation's file."""

PREFIXES = {"depth": "encoder.", "segmentation": "", "referring": ""}
"""Prefixes of the U-Net's and the VAE's keys, by task."""

OUTPUT_LAYERS = ("conv_norm_out.", "conv_out.")
"""Layers of the U-Net, by diffusers' names, that VPD's depth network deletes."""


def list_missing_layers(task: str) -> tuple[str, ...]:
    """Beginnings of the U-Net's keys, by diffusers' names, that the task's file lacks."""
    return OUTPUT_LAYERS if task == "depth" else ()


def unet_keys(task: str) -> Shapes:
    """Key -> shape of the U-Net by LDM's names, less its beginning."""
    return sd1_unet_keys(output=task != "depth")


def head_keys(task: str) -> Shapes:
    """Key -> shape of all that is neither U-Net nor VAE."""
    return _head_keys()[task]


def original_keys(task: str) -> Shapes:
    """Key -> shape of all that the task's file holds, but for the noise schedule."""
    prefix = PREFIXES[task]
    return {
        **{prefix + UNET + key: shape for key, shape in unet_keys(task).items()},
        **{prefix + VAE + key: shape for key, shape in vae_encoder_keys().items()},
        **head_keys(task),
    }


def alternative_shapes(task: str) -> Shapes:
    """Key -> the second published shape: the referring network is published for 40 tokens and for 77."""
    if task != "referring":
        return {}
    return {"classifier.conv1_4.weight": (640, 2637, 3, 3), "classifier.conv1_3.weight": (640, 1997, 3, 3)}


@cache
def _head_keys() -> dict[str, Shapes]:
    return read_shapes(Path(__file__).with_name("published.json"))
