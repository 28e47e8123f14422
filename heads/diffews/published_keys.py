"""Keys and shapes of DiffewS's published network: SD 2's U-Net with a second input convolution."""

from __future__ import annotations

from pathlib import Path

from backbones.loading.published_keys import Shapes, read_shapes, sd2_unet_keys


def unet_keys() -> Shapes:
    """Key -> shape of the U-Net by diffusers' names, and of its second input convolution by the original's."""
    return sd2_unet_keys() | read_shapes(Path(__file__).with_name("published.json"))["support_convolution"]
