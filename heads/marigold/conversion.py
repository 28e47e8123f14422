"""Marigold's published folders into the registry's layout, with every key and shape accounted for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import CheckpointError
from backbones.files import write_json
from backbones.loading.config_files import read_json
from backbones.loading.conversion import copy_unet
from backbones.loading.published_keys import Shapes, sd2_unet_keys
from backbones.loading.published_model import CONFIG_FILE, UNET_FILE
from backbones.loading.verification import (
    INCOMPLETE,
    check_keys,
    check_unet,
    check_unet_config,
    number_type,
    shapes_of,
)
from heads.marigold.model import INDEX_FILE, NOISE, SCHEDULER_FILE, Modality, check_prediction, read_settings

_PREDICTIONS: dict[str, Modality] = {"depth-relative": "depth", "normals": "normals"}


def convert(source: Path, files: Sequence[str], target: Path, *, from_zeros: bool) -> None:
    """Write the U-Net and the settings of a published folder into the folder `target`.

    files: config and weights of the U-Net, `model_index.json`, and the scheduler's configuration, below `source`.
    Raises CheckpointError for a file that is damaged, or that would have to run code.
    """
    config, weights, index, scheduler = files
    copy_unet(read_json(source / config), source / weights, target)
    (target / SCHEDULER_FILE).parent.mkdir(parents=True)
    shutil.copyfile(source / scheduler, target / SCHEDULER_FILE)
    settings = read_json(source / index)
    write_json(target / INDEX_FILE, settings | ({NOISE: "zeros"} if from_zeros else {}))


def check_configs(task: str, source: Path, files: Sequence[str], *, any_size: bool) -> None:
    """Raises CheckpointError for the configuration of another network, and for that of another task."""
    config, *_ = files
    index, _ = read_settings(source)
    check_prediction(_PREDICTIONS[task], index, source)
    check_unet_config(read_json(source / config), unet_keys(), source / config, any_size=any_size)


def verify(task: str, weights: Path, *, any_size: bool) -> str:
    """Check every key and shape of the files that `convert` wrote. Returns the number type of the U-Net.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys, and for a network of another task.
    """
    index, _ = read_settings(weights)
    check_prediction(_PREDICTIONS[task], index, weights)
    unet = shapes_of(weights / UNET_FILE)
    check_keys(weights / UNET_FILE, unet, unet_keys(), any_size=any_size)
    check_unet(read_json(weights / CONFIG_FILE), unet, weights / CONFIG_FILE)
    entering, leaving = (unet[f"{name}.weight"].shape for name in ("conv_in", "conv_out"))
    if entering[1] != 2 * leaving[0]:
        raise CheckpointError(
            weights / "unet",
            "its input is not the latents of an image and of a prediction",
            mis_shaped=[f"conv_in.weight: {tuple(entering)} where {2 * leaving[0]} channels belong"],
            hint=INCOMPLETE,
        )
    return number_type(unet)


def unet_keys() -> Shapes:
    """Key -> shape of the U-Net by diffusers' names: SD 2's, with twice its input channels."""
    return sd2_unet_keys() | {"conv_in.weight": (320, 8, 3, 3)}
