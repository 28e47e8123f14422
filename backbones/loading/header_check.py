"""Verify a diffusers folder by its configs, or by the headers of its files: every key and shape. No value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.errors import CheckpointError
from backbones.loading.diffusers_folder import HARMLESS, check_latent_channels, load_tokenizer, read_schedule
from backbones.loading.verification import INCOMPLETE, read_json, shapes_of
from backbones.loading.weight_files import check_fit

# Former names of the VAE's attention in diffusers, which it still reads.
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_TEXT_MODEL = "text_model."


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
    networks = {part: _build_part(folder / part, build) for part, build in _BUILDERS.items()}
    check_latent_channels(networks["unet"], networks["vae"], folder)
    return networks


def _count_values(networks: Mapping[str, nn.Module]) -> dict[str, int]:
    return {part: sum(value.numel() for value in network.parameters()) for part, network in networks.items()}


def _build_part(folder: Path, build: Callable[[Mapping[str, Any]], nn.Module]) -> nn.Module:
    config = read_json(folder / "config.json")
    try:
        with torch.device("meta"):
            return build(config)
    except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise CheckpointError(folder / "config.json", f"it describes no network ({error})", hint=INCOMPLETE) from error


def _check_part(folder: Path, network: nn.Module) -> None:
    """Raises CheckpointError if a part's files do not fill its network exactly."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= shapes_of(file)
    own = network.state_dict()
    named = {_current_name(key, own): tensor for key, tensor in tensors.items() if key not in HARMLESS}
    message = f"the weights do not fit {type(network).__name__} as config.json describes it"
    check_fit(network, named, folder, message, hint=INCOMPLETE)


def _current_name(key: str, own: Mapping[str, Tensor]) -> str:
    """A key as the stock class of today names it. own: key -> tensor of any shape, of that class."""
    if key in own:
        return key
    for old, new in _OLD_ATTENTION.items():
        key = key.replace(old, new)
    return next((name for name in (key.removeprefix(_TEXT_MODEL), _TEXT_MODEL + key) if name in own), key)


def _build_unet(config: Mapping[str, Any]) -> nn.Module:
    from diffusers import UNet2DConditionModel  # takes seconds: only what opens a model pays for it

    network: nn.Module = UNet2DConditionModel.from_config(dict(config))  # type: ignore[no-untyped-call]
    return network


def _build_vae(config: Mapping[str, Any]) -> nn.Module:
    from diffusers import AutoencoderKL

    network: nn.Module = AutoencoderKL.from_config(dict(config))  # type: ignore[no-untyped-call]
    return network


def _build_text_encoder(config: Mapping[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config))


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "unet": _build_unet,
    "vae": _build_vae,
    "text_encoder": _build_text_encoder,
}
