"""One checkpoint of every published model in its published layout, all of them consistent, added as a user would.

They are small, or of the published sizes. The fine-tuned networks are their backbone's with a little noise; the two
backbones share no weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from backbones.loading.add import add_model
from backbones.loading.published_keys import Shapes
from heads.sdpose.published_keys import head_keys as pose_keys
from heads.vpd.published_keys import head_keys as dense_keys
from service.models.known import PUBLISHED
from tests.backbones.original_layout import rename_modules, unet_modules, vae_tensors
from tests.backbones.small_models import WEIGHTS
from tests.backbones.small_networks import SD1, SD2, stock_unet

ATTENDS = (True, True, True, False)
POSE = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
WIDTHS = {"block_out_channels": (16, 32, 64, 64), "norm_num_groups": 8}
BACKBONES = {"sd15": (SD1 | WIDTHS | {"sample_size": 16}, 1), "sd21": (SD2 | WIDTHS | {"sample_size": 24}, 2)}
"""U-Net configuration and seed of each backbone."""

KINDS = ("sd15", "vpd-depth", "vpd-segmentation", "vpd-referring", "sd21", "sdpose-body", "diffews")
"""The models of a catalogue: backbones before the models over them."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a catalogue's models.

    backbones: U-Net configuration and seed, by kind. vae: its configuration's widths and groups. text: entries of the
    text encoder's configuration, by kind. whole: whether heads have the published shapes.
    """

    backbones: Mapping[str, tuple[dict[str, Any], int]]
    vae: Mapping[str, Any]
    text: Mapping[str, Mapping[str, Any]]
    whole: bool = False


def _text(width: int, heads: int, layers: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers}
    return {"intermediate_size": 4 * width, **sizes, **more}


SMALL = Sizes(
    BACKBONES,
    {"block_out_channels": (4, 8, 16, 16), "norm_num_groups": 4},
    {kind: _text(config["cross_attention_dim"], 4, 2) for kind, (config, _) in BACKBONES.items()},
)
_WIDE = {"block_out_channels": (320, 640, 1280, 1280), "norm_num_groups": 32}
FULL = Sizes(
    {
        "sd15": (SD1 | _WIDE | {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}, 1),
        "sd21": (
            SD2 | _WIDE | {"sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20)},
            2,
        ),
    },
    {"block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32},
    {
        "sd15": _text(768, 12, 12, vocab_size=49408),
        "sd21": _text(1024, 16, 23, vocab_size=49408, hidden_act="gelu"),
    },
    whole=True,
)


def write_originals(folder: Path) -> dict[str, Path]:
    """The files and folders by the kind of their model, all of them small."""
    return {kind: write_original(kind, folder, SMALL) for kind in KINDS}


def write_original(kind: str, folder: Path, sizes: Sizes) -> Path:
    """The file or folder of one kind below `folder`."""
    if kind in sizes.backbones:
        return write_backbone(folder / kind, *sizes.backbones[kind], sizes)
    if kind == "sdpose-body":
        return _write_pose(folder / "sdpose", sizes)
    if kind == "diffews":
        return _write_few_shot(folder / "diffews", sizes)
    return _write_dense(kind.removeprefix("vpd-"), folder / f"{kind}.pth", sizes)


def add_all(originals: dict[str, Path], models_folder: Path) -> None:
    """As `diffsight models add KIND=PLACE ... --any-size` does."""
    for kind, place in originals.items():
        add_model(PUBLISHED[kind], folder=models_folder, source=str(place), any_size=True, say=lambda line: None)


def build_vae(seed: int, sizes: Sizes = SMALL) -> nn.Module:
    torch.manual_seed(100 + seed)
    build: Any = AutoencoderKL
    network: nn.Module = build(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
        **sizes.vae,
    )
    return network


def text_config(config: dict[str, Any], sizes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A text encoder's configuration for a U-Net's. sizes: its entries; None for a small one."""
    values: dict[str, Any] = json.loads((WEIGHTS / "sd1/text_encoder/config.json").read_text())
    return values | dict(_text(config["cross_attention_dim"], 4, 2) if sizes is None else sizes)


def write_backbone(folder: Path, config: dict[str, Any], seed: int, sizes: Sizes = SMALL) -> Path:
    """A whole diffusers folder with a random U-Net of this configuration."""
    shutil.copytree(WEIGHTS / "sd1", folder)
    for part in ("unet", "vae", "text_encoder"):
        shutil.rmtree(folder / part)
    stock_unet(config, seed).save_pretrained(folder / "unet")
    vae: Any = build_vae(seed, sizes)
    vae.save_pretrained(folder / "vae")
    torch.manual_seed(200 + seed)
    described = text_config(config, sizes.text[folder.name] if sizes.whole else None)
    text = CLIPTextModel(CLIPTextConfig(**described))
    (folder / "text_encoder").mkdir()
    save_file(text.state_dict(), folder / "text_encoder/model.safetensors")
    (folder / "text_encoder/config.json").write_text(json.dumps(described))
    return folder


def _tune(tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: value + 0.02 * torch.randn(value.shape, generator=generator) for key, value in tensors.items()}


def _head(shapes: Shapes, *, whole: bool) -> dict[str, Tensor]:
    """Weights of a head: of these shapes, or its widths that follow the U-Net's a 20th and its others a 32nd.

    Values are small enough that nothing overflows; statistics of batch norms are positive.
    """
    generator = torch.Generator().manual_seed(len(shapes))

    def side(size: int) -> int:
        if whole:
            return size
        for maps in (0, 150, 40):  # attention maps of classes, or of tokens, stand behind the features of one level
            if size > maps and (size - maps) % 320 == 0:
                return (size - maps) // 20 + maps
        return size // 32 if size >= 128 and size % 32 == 0 else size

    values = {key: 0.05 * torch.randn([side(size) for size in shape], generator=generator)
              for key, shape in shapes.items()}  # fmt: skip
    return {key: value.abs() + 0.5 if "running_var" in key else value for key, value in values.items()}


def _write_dense(task: str, file: Path, sizes: Sizes) -> Path:
    prefix = "encoder." if task == "depth" else ""
    config, seed = sizes.backbones["sd15"]
    vae = build_vae(seed, sizes).state_dict()
    unet = _tune(stock_unet(config, seed).state_dict(), len(task))
    tensors = rename_modules(unet, unet_modules(2, ATTENDS), f"{prefix}unet.unet.diffusion_model.")
    if task == "depth":
        tensors = {key: value for key, value in tensors.items() if ".diffusion_model.out." not in key}
    encoder = vae_tensors({key: value for key, value in vae.items() if not key.startswith("decoder.")}, depth=2)
    tensors |= {key.replace("first_stage_model.", f"{prefix}encoder_vq."): value for key, value in encoder.items()}
    tensors |= _head(dense_keys(task), whole=sizes.whole)
    torch.save({"state_dict" if task == "segmentation" else "model": tensors}, file)
    return file


def _write_pose(folder: Path, sizes: Sizes) -> Path:
    for part in ("unet", "decoder", "scheduler"):
        (folder / part).mkdir(parents=True)
    config, seed = sizes.backbones["sd21"]
    unet = stock_unet(config | POSE, seed).state_dict()
    own = _tune(stock_unet(config, seed).state_dict(), 31)
    save_file(unet | own, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "unet/config.json").write_text(json.dumps(config | POSE))
    save_file(_head(pose_keys("body"), whole=sizes.whole), folder / "decoder/decoder.safetensors")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "sample"}))
    return folder


def _write_few_shot(folder: Path, sizes: Sizes) -> Path:
    config, seed = sizes.backbones["sd21"]
    unet = _tune(stock_unet(config, seed).state_dict(), 41)
    convolution, bias = unet["conv_in.weight"], unet["conv_in.bias"].clone()
    unet |= {"conv_in_ref.weight": torch.cat([convolution, convolution], 1) / 2, "conv_in_ref.bias": bias}
    (folder / "unet").mkdir(parents=True)
    save_file(unet, folder / "unet/diffusion_pytorch_model.safetensors")
    about = config | {"_class_name": "MyUNet2DConditionModel", "in_channels_ref": 8}
    (folder / "unet/config.json").write_text(json.dumps(about))
    return folder
