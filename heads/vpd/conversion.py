"""VPD's published checkpoints into the registry's layout, with every key and shape accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.loading import ldm, ldm_config, stock_networks
from backbones.loading.published_keys import Shapes, vae_encoder_keys
from backbones.loading.published_model import HEAD_FILE, UNET_FILE
from backbones.loading.verification import check_keys, check_network, number_type, on_meta, shapes_of
from backbones.loading.weight_files import write_tensors
from heads.vpd.checkpoint import VAE_FILE, read_original, split_original
from heads.vpd.published_keys import (
    SCHEDULE,
    alternative_shapes,
    head_keys,
    list_missing_layers,
    original_keys,
    unet_keys,
)


def convert(task: str, file: Path, target: Path, *, any_size: bool) -> None:
    """Write U-Net, VAE encoder and head of a published checkpoint into the folder `target`.

    any_size: take networks of other sizes, which must still load strictly into the stock classes.
    Raises CheckpointError with the missing, unexpected and mis-shaped keys, or for a file that would have to run code.
    """
    tensors = read_original(file)
    needed = {key: tensor for key, tensor in tensors.items() if not key.startswith(SCHEDULE)}
    check_keys(file, needed, original_keys(task), any_size=any_size, alternatives=alternative_shapes(task))
    parts = split_original(tensors, task, file)

    config = _unet_config(parts.unet, file)
    unet = ldm.convert_unet(parts.unet, config)
    check_network(stock_networks.build_unet(config), unet, file, may_lack=list_missing_layers(task))
    vae_config = ldm_config.vae_config(parts.vae, ldm_config.Unrecorded(norm_groups=1), file)
    vae = ldm.convert_vae(on_meta(parts.vae), vae_config)
    check_network(stock_networks.build_vae(vae_config), vae, file, may_lack=("decoder.",))

    (target / UNET_FILE).parent.mkdir(parents=True)
    write_tensors(unet, target / UNET_FILE)
    write_tensors(parts.vae, target / VAE_FILE)
    write_tensors(parts.head, target / HEAD_FILE)


def verify(task: str, weights: Path, *, any_size: bool) -> str:
    """Check every key and shape of the files that `convert` wrote. Returns the number type of the U-Net.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    unet = shapes_of(weights / UNET_FILE)
    check_keys(weights / UNET_FILE, unet, _list_unet_keys(task), any_size=any_size)
    check_keys(weights / VAE_FILE, shapes_of(weights / VAE_FILE), vae_encoder_keys(), any_size=any_size)
    check_keys(
        weights / HEAD_FILE,
        shapes_of(weights / HEAD_FILE),
        head_keys(task),
        any_size=any_size,
        alternatives=alternative_shapes(task),
    )
    return number_type(unet)


def _list_unet_keys(task: str) -> Shapes:
    """Key -> shape of the U-Net by diffusers' names."""
    original = {key: torch.empty(shape, device="meta") for key, shape in unet_keys(task).items()}
    converted = ldm.convert_unet(original, _unet_config(original, task))
    return {key: tuple(tensor.shape) for key, tensor in converted.items()}


def _unet_config(unet: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    # Heads and groups do not affect shapes: 1 fits every width.
    return ldm_config.unet_config(unet, ldm_config.Unrecorded(attention_heads=1, norm_groups=1), source, sample_size=64)
