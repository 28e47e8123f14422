"""Open a backbone that `diffsight models add` brought."""

from __future__ import annotations

import torch

from backbones.errors import InvalidInput
from backbones.loading.conversion import single_file
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.ldm import load_single_file
from backbones.loading.published import SIZES
from backbones.loading.registry import ModelEntry
from backbones.stable_diffusion import StableDiffusion


def load_added(
    entry: ModelEntry, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> StableDiffusion:
    """The backbone of an entry.

    Raises InvalidInput for a model that is fine-tuned over a backbone, CheckpointError if its files do not load.
    """
    if entry.kind not in SIZES:
        raise InvalidInput(
            "backbone",
            f"{entry.name!r} is a fine-tuned U-Net ({entry.kind}) and no backbone",
            hint=f"serve {entry.base or 'the backbone that it goes with'}; `diffsight models list` lists the backbones",
        )
    if (entry.weights / "model_index.json").is_file():
        return load_diffusers_folder(entry.weights, dtype=dtype, device=device, name=entry.name)
    return load_single_file(single_file(entry.weights), dtype=dtype, device=device, name=entry.name)
