"""Stock networks' tensors under the key names of the original Stable Diffusion files, written from those files' layout.

The product translates in the other direction, with other code: loading what this module wrote proves both.
Source: CompVis/latent-diffusion, `ldm/modules/diffusionmodules/{openaimodel,model}.py`; open_clip, `transformer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_modules(depth: int, attends: tuple[bool, ...]) -> Iterator[tuple[str, str]]:
    """Stock and original name of every part of a U-Net. attends: by level, finest first."""
    yield from {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
    }.items()
    residuals = [("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2")]
    place = 0
    for level, attend in enumerate(attends):
        for index in range(depth):
            place += 1
            residuals.append((f"down_blocks.{level}.resnets.{index}", f"input_blocks.{place}.0"))
            if attend:
                yield f"down_blocks.{level}.attentions.{index}", f"input_blocks.{place}.1"
        if level < len(attends) - 1:
            place += 1
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{place}.0.op"
    place = 0
    for level, attend in enumerate(reversed(attends)):
        for index in range(depth + 1):
            residuals.append((f"up_blocks.{level}.resnets.{index}", f"output_blocks.{place}.0"))
            if attend:
                yield f"up_blocks.{level}.attentions.{index}", f"output_blocks.{place}.1"
            if index == depth and level < len(attends) - 1:
                yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{place}.{2 if attend else 1}.conv"
            place += 1
    for stock, original in residuals:
        yield from ((f"{stock}.{a}", f"{original}.{b}") for a, b in RESIDUAL.items())


def vae_modules(levels: int, depth: int) -> Iterator[tuple[str, str]]:
    """Stock and original name of every part of a VAE."""
    yield from (("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv"))
    for half in ("encoder", "decoder"):
        yield from ((f"{half}.{side}", f"{half}.{side}") for side in ("conv_in", "conv_out"))
        yield f"{half}.conv_norm_out", f"{half}.norm_out"
        residuals = [(f"{half}.mid_block.resnets.{i}", f"{half}.mid.block_{i + 1}") for i in (0, 1)]
        names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
        yield from ((f"{half}.mid_block.attentions.0.{a}", f"{half}.mid.attn_1.{b}") for a, b in names.items())
        for level in range(levels):
            if half == "encoder":
                stock, original, blocks, sampler = f"down_blocks.{level}", f"down.{level}", depth, "down"
            else:
                stock, original, blocks, sampler = f"up_blocks.{level}", f"up.{levels - 1 - level}", depth + 1, "up"
            residuals += [(f"{half}.{stock}.resnets.{i}", f"{half}.{original}.block.{i}") for i in range(blocks)]
            yield f"{half}.{stock}.{sampler}samplers.0.conv", f"{half}.{original}.{sampler}sample.conv"
        for stock, original in residuals:
            yield from ((f"{stock}.{name}", f"{original}.{name}") for name in ("norm1", "conv1", "norm2", "conv2"))
            yield f"{stock}.conv_shortcut", f"{original}.nin_shortcut"


def rename_modules(tensors: Mapping[str, Tensor], modules: Iterator[tuple[str, str]], prefix: str) -> dict[str, Tensor]:
    names = dict(modules)
    result = {}
    for key, tensor in tensors.items():
        module = next(name for name in _ancestors(key) if name in names)
        result[prefix + names[module] + key.removeprefix(module)] = tensor
    return result


def _ancestors(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def vae_tensors(tensors: Mapping[str, Tensor], levels: int = 4, depth: int = 1) -> dict[str, Tensor]:
    """With the attention's projections as the 1x1 convolutions that they are in the original."""
    original = rename_modules(tensors, vae_modules(levels, depth), "first_stage_model.")
    return {
        key: tensor[:, :, None, None] if ".attn_1." in key and tensor.ndim == 2 else tensor
        for key, tensor in original.items()
    }


def open_clip_tensors(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The text tower as open_clip holds it: joint projections, and one layer more than Stable Diffusion runs."""
    prefix = "cond_stage_model.model."
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    original = {
        f"{prefix}positional_embedding": tensors["embeddings.position_embedding.weight"],
        f"{prefix}token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        f"{prefix}text_projection": torch.randn(32, 32),
        f"{prefix}logit_scale": torch.tensor(1.0),
    }
    for kind in ("weight", "bias"):
        original[f"{prefix}ln_final.{kind}"] = tensors[f"final_layer_norm.{kind}"]
        for layer in range(layers):
            stock, there = f"encoder.layers.{layer}", f"{prefix}transformer.resblocks.{layer}"
            joint = [tensors[f"{stock}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            original[f"{there}.attn.in_proj_{kind}"] = torch.cat(joint)
            original[f"{there}.attn.out_proj.{kind}"] = tensors[f"{stock}.self_attn.out_proj.{kind}"]
            for name, other in names.items():
                original[f"{there}.{other}.{kind}"] = tensors[f"{stock}.{name}.{kind}"]
    last = f"{prefix}transformer.resblocks.{layers - 1}."
    beyond = f"{prefix}transformer.resblocks.{layers}."
    original |= {
        key.replace(last, beyond): torch.randn(tensor.shape)
        for key, tensor in list(original.items())
        if key.startswith(last)
    }
    return original


def single_file_tensors(folder: Path) -> dict[str, Tensor]:
    """A whole original checkpoint with the weights of one of the small diffusers folders, and what trainers add."""
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder/model.safetensors")
    attends = (True, True, True, False)
    tensors = rename_modules(unet, unet_modules(1, attends), "model.diffusion_model.") | vae_tensors(vae)
    if folder.name == "sd1":
        tensors |= {f"cond_stage_model.transformer.text_model.{key}": tensor for key, tensor in text.items()}
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    else:
        tensors |= open_clip_tensors(text, layers=2)
    # Tensors that training adds: the noise schedule, a discriminator, counters.
    tensors["betas"] = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    tensors["alphas_cumprod"] = (1 - tensors["betas"].double()).cumprod(0).float()
    tensors["first_stage_model.loss.logvar"] = torch.zeros(())
    tensors["model_ema.decay"] = torch.tensor(0.9999)
    return tensors


def keep_average_only(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same checkpoint with the U-Net under the names of its running average alone."""
    beginning = "model.diffusion_model."
    return {
        "model_ema.diffusion_model" + key.removeprefix(beginning).replace(".", "")
        if key.startswith(beginning)
        else key: tensor
        for key, tensor in tensors.items()
    }
