"""Open a backbone by its source: "pocket", a folder, a single file, or a hub id."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.added import load_added
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.hub import load_hub
from backbones.loading.ldm import load_single_file
from backbones.loading.ldm_config import AS_PUBLISHED, Unrecorded
from backbones.loading.registry import default_folder, find_entry
from backbones.nvidia import Nvidia, look_for_nvidia
from backbones.stable_diffusion import StableDiffusion

POCKET = Path(__file__).parents[1] / "pocket"
_HUB_ID = re.compile(r"(?P<repo_id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SINGLE_FILES = (".safetensors", ".ckpt")


def open_backbone(
    source: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    unrecorded: Unrecorded = AS_PUBLISHED,
    tokenizer: Path | None = None,
    cache_folder: Path | None = None,
    offline: bool = False,
    file_variant: str = "",
    models_folder: Path | None = None,
) -> StableDiffusion:
    """A backbone from "pocket" (the embedded one), the name of one that was added with `diffsight models add`, a
    diffusers folder, a single file, or "owner/name[@revision]".

    They are looked for in this order. models_folder: where models were added; None is the default folder.
    device: "cpu", "cuda", "cuda:1", "mps". unrecorded, tokenizer: for single files. cache_folder, offline: for hub ids.
    file_variant: "fp16" or "", for folders and hub ids.
    Raises ModelNotFound if there is none, CheckpointError if it does not load, InvalidInput for a device that this
    machine does not have.
    """
    target = check_device(device)
    if source == "pocket":
        return load_diffusers_folder(POCKET, dtype=dtype, device=target, name="pocket")
    if (added := find_entry(models_folder or default_folder(), source)) is not None:
        return load_added(added, dtype=dtype, device=target)
    path = Path(os.path.expanduser(source))
    if source and path.is_dir():
        return load_diffusers_folder(path, dtype=dtype, device=target, file_variant=file_variant)
    if path.is_file() and path.suffix in _SINGLE_FILES:
        return load_single_file(path, unrecorded, tokenizer=tokenizer, dtype=dtype, device=target)
    hub_id = _HUB_ID.fullmatch(source)
    if hub_id is None or path.suffix in _SINGLE_FILES:
        raise ModelNotFound(
            f"there is no backbone {source!r}",
            hint='give "pocket", a name of `diffsight models list`, a folder in the diffusers layout, '
            "a .safetensors or .ckpt file, or a hub id owner/name or owner/name@revision, in DIFFSIGHT_BACKBONE",
        )
    return load_hub(
        hub_id["repo_id"],
        revision=hub_id["revision"] or "main",
        cache_folder=cache_folder,
        offline=offline,
        file_variant=file_variant,
        dtype=dtype,
        device=target,
    )


def check_device(device: str, nvidia: Nvidia | None = None) -> torch.device:
    """The device by its name. nvidia: the state of the driver; None looks it up.

    Raises InvalidInput if this machine, or this build of torch, does not have it.
    """
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput("device", f"{device!r} is no device", hint='use "cpu", "cuda", "cuda:1" or "mps"') from error
    if target.type == "cuda":
        nvidia = nvidia or look_for_nvidia()
        if (target.index or 0) >= nvidia.usable:
            build = "" if nvidia.cuda else ", and this torch is built for the CPU alone"
            reason = nvidia.problem() or f"torch sees {nvidia.usable} CUDA devices{build}"
            raise InvalidInput("device", f"{device!r} is not usable: {reason}", hint=nvidia.hint())
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise InvalidInput("device", "'mps' was requested, but torch finds no Apple GPU", hint='use "cpu"')
    if target.type not in ("cpu", "cuda", "mps"):
        raise InvalidInput(
            "device", f"a backbone can not run on the device {device!r}", hint='use "cpu", "cuda", "cuda:1" or "mps"'
        )
    return target
