"""Verify a diffusers folder by its configs, or by the headers of its files: every key and shape. No value is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from backbones.loading.diffusers_folder import build_part, check_latent_channels, load_tokenizer, read_schedule
from backbones.loading.file_names import find_file_variant, find_weight_files
from backbones.loading.stock_networks import BUILDERS, with_current_names
from backbones.loading.verification import INCOMPLETE, shapes_of
from backbones.loading.weight_files import check_fit


def check_folder(folder: Path) -> dict[str, int]:
    """Number of values of each part of a diffusers folder, after every key and shape was checked.

    Raises ModelNotFound if a part is missing, CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    read_schedule(folder / "scheduler")
    load_tokenizer(folder / "tokenizer")
    networks = _build_parts(folder)
    for part, network in networks.items():
        _check_part(folder / part, network)
    return _count_values(networks)


def check_configs(folder: Path) -> dict[str, int]:
    """Values of each part of a diffusers folder as its config describes it; no weight file need be there.

    Raises CheckpointError if a config describes no network, or if the parts do not belong together.
    """
    return _count_values(_build_parts(folder))


def _build_parts(folder: Path) -> dict[str, Any]:
    """The networks of a folder on the meta device."""
    networks = {part: build_part(build, folder / part) for part, build in BUILDERS.items()}
    check_latent_channels(networks["unet"], networks["vae"], folder)
    return networks


def _count_values(networks: Mapping[str, nn.Module]) -> dict[str, int]:
    return {part: sum(value.numel() for value in network.parameters()) for part, network in networks.items()}


def _check_part(folder: Path, network: nn.Module) -> None:
    """Raises CheckpointError if a part's files do not fill its network exactly."""
    tensors: dict[str, Tensor] = {}
    for file in find_weight_files(folder, find_file_variant(folder)):
        tensors |= shapes_of(file)
    named = with_current_names(tensors, network)
    message = f"the weights do not fit {type(network).__name__} as config.json describes it"
    check_fit(network, named, folder, message, hint=INCOMPLETE)
