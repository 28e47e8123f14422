"""DiffewS's published folder into the registry's layout, with every key and shape accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from backbones.errors import CheckpointError
from backbones.loading.config_files import read_json
from backbones.loading.conversion import copy_unet
from backbones.loading.published_model import CONFIG_FILE, UNET_FILE
from backbones.loading.verification import (
    INCOMPLETE,
    check_keys,
    check_unet,
    check_unet_config,
    number_type,
    shapes_of,
)
from heads.diffews.checkpoint import SUPPORT_CONVOLUTION
from heads.diffews.published_keys import unet_keys

Value = TypeVar("Value")

_INPUT_CHANNELS = "in_channels_ref"
"""Entry of the config for the second input convolution, which the stock class does not know."""


def convert(source: Path, files: Sequence[str], target: Path) -> None:
    """Write the U-Net of a published folder into the folder `target`. files: config and weights, below `source`.

    Raises CheckpointError for a file that is damaged, or that would have to run code.
    """
    config, weights = files
    copy_unet(read_json(source / config), source / weights, target)


def check_configs(source: Path, files: Sequence[str], *, any_size: bool) -> None:
    """Raises CheckpointError for the configuration of another network."""
    check_unet_config(_read_config(source / files[0]), _stock(unet_keys()), source / files[0], any_size=any_size)


def _read_config(file: Path) -> dict[str, Any]:
    """What the stock class knows of a configuration."""
    return {key: value for key, value in read_json(file).items() if key != _INPUT_CHANNELS}


def _stock(keys: Mapping[str, Value]) -> dict[str, Value]:
    """The keys that the stock class has, with their values."""
    return {key: value for key, value in keys.items() if not key.startswith(f"{SUPPORT_CONVOLUTION}.")}


def verify(weights: Path, *, any_size: bool) -> str:
    """Check every key and shape of the files that `convert` wrote. Returns the number type of the U-Net.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    unet = shapes_of(weights / UNET_FILE)
    check_keys(weights / UNET_FILE, unet, unet_keys(), any_size=any_size)
    check_unet(_read_config(weights / CONFIG_FILE), _stock(unet), weights / CONFIG_FILE)
    shape, own_shape = (unet[f"{module}.weight"].shape for module in (SUPPORT_CONVOLUTION, "conv_in"))
    if shape[:2] != (own_shape[0], 2 * own_shape[1]):
        raise CheckpointError(
            weights / "unet",
            "its second input convolution does not fit",
            mis_shaped=[f"{SUPPORT_CONVOLUTION}.weight: {tuple(shape)}"],
            hint=INCOMPLETE,
        )
    return number_type(unet)
