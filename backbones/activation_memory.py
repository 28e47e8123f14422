"""An estimate of the memory for a batch's activations before it runs: an item's pixels times the bytes of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backbones.rows import UNetRow

# Feature maps at full resolution, of the network's first width, that are held at the same time. Measured on the
# published networks in float32 on a CPU: an encode of 768 x 1024 pixels takes 1.9 GiB and one of 512 x 512 0.6 GiB (128
# channels), a decode twice that, and a row 0.125 GiB at 64 x 64 and 0.28 GiB at 96 x 96 latents (320 channels).
_ENCODE_MAPS, _DECODE_MAPS, _UNET_MAPS = 6, 12, 26


@dataclass(frozen=True, slots=True)
class ActivationBytes:
    """Bytes of activations: the VAE's for each pixel, the U-Net's for each latent position. 0 if unknown."""

    encode: float = 0.0
    decode: float = 0.0
    unet: float = 0.0


UNKNOWN = ActivationBytes()


def activation_bytes(unet: Any, vae: Any, dtype: torch.dtype) -> ActivationBytes:
    """The activations of a VAE and a U-Net of diffusers, from the widths in their configurations; None is unknown."""
    width = 0 if vae is None else vae.config.block_out_channels[0]
    channels = 0 if unet is None else unet.config.block_out_channels[0]
    return ActivationBytes(
        encode=_ENCODE_MAPS * width * dtype.itemsize,
        decode=_DECODE_MAPS * width * dtype.itemsize,
        unet=_UNET_MAPS * channels * dtype.itemsize,
    )


def positions_of(item: UNetRow | Tensor | str) -> int:
    """Places of an item's map: pixels of (3, H, W), latent positions of (C, h, w) or of a row; 1 for a text."""
    if isinstance(item, UNetRow):
        return item.latents.shape[-2] * item.latents.shape[-1]
    return item.shape[-2] * item.shape[-1] if isinstance(item, Tensor) and item.ndim >= 2 else 1


def item_bytes(kind: str, item: UNetRow | Tensor | str, memory: ActivationBytes, downscale: int) -> float:
    """Bytes that one item adds to its batch: an image (3, H, W), latents (C, h, w) or a row of them.

    kind: "encode", "decode", "unet"; 0 for others.
    """
    if kind == "decode":  # from latents (C, h, w) to pixels
        return memory.decode * positions_of(item) * downscale**2
    return {"encode": memory.encode, "unet": memory.unet}.get(kind, 0.0) * positions_of(item)


def count_fitting(bytes_each: float, free_bytes: float) -> int | None:
    """How many items fit, at least one; None if their size is unknown. Half of the free memory stays free."""
    return None if bytes_each <= 0 else max(1, int(free_bytes / 2 / bytes_each))
