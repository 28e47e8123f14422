"""Keys and shapes of SDPose's published networks: SD 2's U-Net with a class embedding, and two heads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from backbones.loading.published_keys import Shapes, read_shapes, sd2_unet_keys

KEYPOINTS = ("final_layer.",)
"""Beginning of the head's keys whose first axis is the number of keypoints."""


def unet_keys() -> Shapes:
    """Key -> shape of the U-Net by diffusers' names."""
    return sd2_unet_keys() | _own_keys()["class_embedding"]


def head_keys(skeleton: str) -> Shapes:
    """Key -> shape of the head for the skeleton `body` (17 keypoints) or `wholebody` (133)."""
    return _own_keys()[skeleton]


@cache
def _own_keys() -> dict[str, Shapes]:
    return read_shapes(Path(__file__).with_name("published.json"))
