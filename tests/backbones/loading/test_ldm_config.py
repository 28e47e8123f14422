"""The sizes of networks, read off the shapes of the published checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from backbones.errors import CheckpointError
from backbones.loading import ldm, ldm_config, stock_networks
from backbones.loading.published_keys import sd1_unet_keys, vae_encoder_keys
from backbones.loading.weight_files import fill
from tests.backbones.original_layout import rename_modules, unet_modules, vae_tensors

PUBLISHED_UNET: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "sample_size": 96,
    },
}


def original_unet(generation: str) -> dict[str, Tensor]:
    stock = stock_networks.build_unet({"block_out_channels": (320, 640, 1280, 1280), **PUBLISHED_UNET[generation]})
    return rename_modules(stock.state_dict(), unet_modules(2, (True, True, True, False)), "")


def original_vae() -> dict[str, Tensor]:
    types = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    stock = stock_networks.build_vae(
        {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4} | types
    )
    tensors = vae_tensors(stock.state_dict(), depth=2)
    return {key.removeprefix("first_stage_model."): tensor for key, tensor in tensors.items()}


def count(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("generation", "size"), [("sd1", 859_520_964), ("sd2", 865_910_724)])
def test_full_size_unets_are_inferred_from_their_shapes(generation: str, size: int) -> None:
    tensors = original_unet(generation)
    config = ldm_config.unet_config(
        tensors,
        ldm_config.AS_PUBLISHED,
        generation,
        sample_size=PUBLISHED_UNET[generation]["sample_size"],
    )
    expected = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, **PUBLISHED_UNET[generation]}
    assert {key: config[key] for key in expected} == expected
    unet = stock_networks.build_unet(config)
    fill(unet, ldm.convert_unet(tensors, config), generation, torch.float32)
    assert ldm.find_lost(tensors, ldm.convert_unet(tensors, config)) == ()
    assert count(unet) == size


def test_the_full_size_vae_is_inferred_from_its_shapes() -> None:
    tensors = original_vae()
    config = ldm_config.vae_config(tensors, ldm_config.AS_PUBLISHED, "vae")
    vae = stock_networks.build_vae(config)
    fill(vae, ldm.convert_vae(tensors, config), "vae", torch.float32)
    assert count(vae) == 83_653_863
    assert vae.config.scaling_factor == 0.18215


@pytest.mark.parametrize(("is_open_clip", "size", "layers"), [(False, 123_060_480, 12), (True, 340_387_840, 23)])
def test_full_size_text_encoders_are_inferred_from_their_shapes(is_open_clip: bool, size: int, layers: int) -> None:
    width, heads, depth = (1024, 16, 24) if is_open_clip else (768, 12, 12)
    tensors = open_clip_shapes(width, depth) if is_open_clip else clip_shapes(width, depth)
    config = ldm_config.text_config(tensors, is_open_clip, ldm_config.AS_PUBLISHED, "text")
    text_encoder = stock_networks.build_text_encoder(config)
    fill(text_encoder, ldm.convert_text(tensors, is_open_clip, text_encoder), "text", torch.float32)
    assert count(text_encoder) == size
    assert (text_encoder.config.num_hidden_layers, text_encoder.config.num_attention_heads) == (layers, heads)
    assert text_encoder.config.hidden_act == ("gelu" if is_open_clip else "quick_gelu")


def clip_shapes(width: int, depth: int) -> dict[str, Tensor]:
    square, wide = (width, width), (4 * width, width)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (49408, width),
        "embeddings.position_embedding.weight": (77, width),
        "embeddings.position_ids": (1, 77),
        "final_layer_norm.weight": (width,),
        "final_layer_norm.bias": (width,),
    }
    for layer in range(depth):
        names = {f"self_attn.{part}_proj": square for part in ("q", "k", "v", "out")}
        names |= {"mlp.fc1": wide, "mlp.fc2": wide[::-1]}
        for name, shape in names.items():
            shapes[f"encoder.layers.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"encoder.layers.{layer}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    return {f"text_model.{key}": torch.empty(shape, device="meta") for key, shape in shapes.items()}


def open_clip_shapes(width: int, depth: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for layer in range(depth):
        there = f"transformer.resblocks.{layer}"
        shapes |= {f"{there}.attn.in_proj_weight": (3 * width, width), f"{there}.attn.in_proj_bias": (3 * width,)}
        wide = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
        for name, shape in wide.items():
            shapes |= {f"{there}.{name}.weight": shape, f"{there}.{name}.bias": shape[:1]}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{there}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_names_and_shapes_of_a_published_unet_and_encoder_fit() -> None:
    """Names and shapes of another system's original code: SD 1.x's U-Net without `out`, VAE without decoder."""
    unet_part = {key: torch.empty(shape, device="meta") for key, shape in sd1_unet_keys(output=False).items()}
    config = ldm_config.unet_config(unet_part, ldm_config.AS_PUBLISHED, "manifest", sample_size=64)
    converted = ldm.convert_unet(unet_part, config)
    assert ldm.find_lost(unet_part, converted) == ()
    with pytest.raises(CheckpointError) as error:
        fill(stock_networks.build_unet(config), converted, "manifest", torch.float32)
    assert error.value.missing == ("conv_norm_out.bias", "conv_norm_out.weight", "conv_out.bias", "conv_out.weight")
    assert error.value.unexpected == error.value.mis_shaped == ()

    vae_part = {key: torch.empty(shape, device="meta") for key, shape in vae_encoder_keys().items()}
    config = ldm_config.vae_config(vae_part, ldm_config.AS_PUBLISHED, "manifest")
    converted = ldm.convert_vae(vae_part, config)
    assert ldm.find_lost(vae_part, converted) == ()
    with pytest.raises(CheckpointError) as error:
        fill(stock_networks.build_vae(config), converted, "manifest", torch.float32)
    assert all(key.startswith("decoder.") for key in error.value.missing)
    assert error.value.unexpected == error.value.mis_shaped == ()
