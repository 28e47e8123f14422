"""Open what `diffsight models add` stored: a backbone as itself, a fine-tuned U-Net as a variant of its backbone."""

from __future__ import annotations

import math

import torch

from backbones.errors import InvalidInput
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.layouts import UNET_FILE, single_file
from backbones.loading.ldm import load_single_file
from backbones.loading.published import published
from backbones.loading.registry import Entry
from backbones.loading.variants import load_variant
from backbones.stable_diffusion import StableDiffusion

POSE_CLASS = (math.sin(1), math.sin(0), math.cos(1), math.cos(0))
"""SDPose's task vector [1, 0] as its U-Net gets it."""


def load_added(
    entry: Entry, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> StableDiffusion:
    """The backbone of an entry. Raises InvalidInput for a variant, CheckpointError where its files do not load."""
    told = published(entry.kind)
    if told.base:
        raise InvalidInput(
            "backbone",
            f"{entry.name!r} is a fine-tuned U-Net ({entry.kind}) and no backbone",
            hint=f"serve its backbone, {told.base}; `diffsight models list` tells which are backbones",
        )
    if (entry.weights / "model_index.json").is_file():
        return load_diffusers_folder(entry.weights, dtype=dtype, device=device, name=entry.name)
    return load_single_file(single_file(entry.weights), dtype=dtype, device=device, name=entry.name)


def load_added_variant(backbone: StableDiffusion, entry: Entry, name: str = "") -> None:
    """Make the U-Net of an entry available to rows, as a variant under its own name unless another is given.

    Raises InvalidInput for an entry that is a backbone, CheckpointError where it does not fit this one.
    """
    told = published(entry.kind)
    name = name or entry.name
    if told.system == "vpd":
        # Its file tells neither heads nor groups: they are the backbone's. Only depth's lacks the output layers.
        lent = ("conv_norm_out.", "conv_out.") if entry.kind == "vpd-depth" else ()
        load_variant(backbone, name, entry.weights / UNET_FILE, from_backbone=lent)
    elif told.system == "sdpose":
        load_variant(backbone, name, entry.weights / "unet", constant_class_labels=torch.tensor(POSE_CLASS))
    elif told.system == "diffews":
        load_variant(backbone, name, entry.weights / "unet", input_convolutions={"support": "conv_in_ref"})
    else:
        raise InvalidInput("variant", f"{entry.name!r} is a backbone", hint="name it with --backbone")
