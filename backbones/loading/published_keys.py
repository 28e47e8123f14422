"""Keys and shapes of Stable Diffusion's networks at their published sizes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]
"""Key -> shape of the tensor."""


def read_shapes(file: Path) -> dict[str, Shapes]:
    """Groups of keys with their shapes, from a JSON file."""
    groups = json.loads(file.read_text(encoding="utf-8"))
    return {group: {key: tuple(shape) for key, shape in keys.items()} for group, keys in groups.items()}


@cache
def _manifest() -> dict[str, Shapes]:
    return read_shapes(Path(__file__).with_name("published.json"))


def sd1_unet_keys(*, output: bool = True) -> Shapes:
    """Key -> shape of SD 1.x's U-Net by LDM's names, less their prefix. output: with its last norm and convolution."""
    return _manifest()["sd1_unet"] | (_manifest()["sd1_unet_output"] if output else {})


def sd2_unet_keys() -> Shapes:
    """Key -> shape of SD 2.x's U-Net by diffusers' names."""
    return _manifest()["sd2_unet"]


def vae_encoder_keys() -> Shapes:
    """Key -> shape of the VAE's encoder by LDM's names, less their prefix."""
    return _manifest()["vae_encoder"]
