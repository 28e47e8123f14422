"""SDPose's published folders into the registry's layout, with every key and shape accounted for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backbones.loading.config_files import read_json
from backbones.loading.conversion import copy_unet
from backbones.loading.published_model import CONFIG_FILE, HEAD_FILE, UNET_FILE
from backbones.loading.verification import (
    check_keys,
    check_unet,
    check_unet_config,
    number_type,
    shapes_of,
)
from heads.sdpose.checkpoint import DECODER_FILE, check_scheduler
from heads.sdpose.published_keys import KEYPOINTS, head_keys, unet_keys

# Older folders may lack them; the original's loaders always pass them.
_CLASS_EMBEDDING = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}


def convert(source: Path, files: Sequence[str], target: Path) -> None:
    """Write U-Net and head of a published folder into the folder `target`. files: paths below `source`.

    Raises CheckpointError for a file that is damaged.
    """
    config, weights, *_ = files
    copy_unet(_read_config(source / config), source / weights, target)
    shutil.copyfile(source / DECODER_FILE, target / HEAD_FILE)


def check_configs(source: Path, files: Sequence[str], *, any_size: bool) -> None:
    """Raises CheckpointError for the configuration of another network, and for another system's scheduler."""
    check_scheduler(source)
    check_unet_config(_read_config(source / files[0]), unet_keys(), source / files[0], any_size=any_size)


def _read_config(file: Path) -> dict[str, Any]:
    return read_json(file) | _CLASS_EMBEDDING


def verify(skeleton: str, weights: Path, *, any_size: bool) -> str:
    """Check every key and shape of the files that `convert` wrote. Returns the number type of the U-Net.

    Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    unet = shapes_of(weights / UNET_FILE)
    check_keys(weights / UNET_FILE, unet, unet_keys(), any_size=any_size)
    check_unet(read_json(weights / CONFIG_FILE), unet, weights / CONFIG_FILE)
    head = shapes_of(weights / HEAD_FILE)
    # The number of keypoints tells the two heads apart at any size.
    check_keys(weights / HEAD_FILE, head, head_keys(skeleton), any_size=any_size, fixed=KEYPOINTS)
    return number_type(unet)
