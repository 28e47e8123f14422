"""The stock networks of Stable Diffusion by their configurations, without memory for weights: `fill` gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

# Old text encoders store their position indices as a buffer; it is a constant today.
_CONSTANTS = ("text_model.embeddings.position_ids", "embeddings.position_ids")

# Former names of the VAE's attention in diffusers.
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_TEXT_MODEL = "text_model."


def build_unet(config: Mapping[str, Any]) -> Any:
    """The stock U-Net without memory for its weights."""
    from diffusers import UNet2DConditionModel  # takes seconds: only what loads a model pays for it

    with torch.device("meta"):
        return UNet2DConditionModel.from_config(dict(config))  # type: ignore[no-untyped-call]


def build_vae(config: Mapping[str, Any]) -> Any:
    """The stock VAE without memory for its weights."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL.from_config(dict(config))  # type: ignore[no-untyped-call]


def build_text_encoder(config: Mapping[str, Any]) -> Any:
    """The stock text encoder without memory for its weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**config))
    # The only buffer that is not a weight: positions, in order.
    embeddings = getattr(network, "text_model", network).embeddings
    embeddings.position_ids = torch.arange(network.config.max_position_embeddings)[None]
    return network


BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "unet": build_unet,
    "vae": build_vae,
    "text_encoder": build_text_encoder,
}
"""By the part's name in a diffusers folder."""


def with_current_names(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The tensors, of any shape, by the names of today's stock class, without constants that old files store.

    network: the stock network; a key without a place in it keeps its name.
    """
    own = network.state_dict()
    return {_current_name(key, own): tensor for key, tensor in tensors.items() if key not in _CONSTANTS}


def _current_name(key: str, own: Mapping[str, Tensor]) -> str:
    if key in own:
        return key
    for old, new in _OLD_ATTENTION.items():
        key = key.replace(old, new)
    return next((name for name in (key.removeprefix(_TEXT_MODEL), _TEXT_MODEL + key) if name in own), key)
