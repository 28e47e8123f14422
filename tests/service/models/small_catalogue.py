"""One small checkpoint of every published model in its published layout, all of them consistent, added as a user would.

The fine-tuned networks are their backbone's with a little noise; the two backbones share no weights.
"""

from __future__ import annotations

import json
import shutil
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
from tests.backbones.original_layout import renamed, unet_modules, vae_tensors
from tests.backbones.small_models import WEIGHTS
from tests.backbones.small_networks import SD1, SD2, stock_unet

ATTENDS = (True, True, True, False)
POSE = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
WIDTHS = {"block_out_channels": (16, 32, 64, 64), "norm_num_groups": 8}
BACKBONES = {"sd15": (SD1 | WIDTHS | {"sample_size": 16}, 1), "sd21": (SD2 | WIDTHS | {"sample_size": 24}, 2)}
"""U-Net configuration and seed of each backbone."""


def write_originals(folder: Path) -> dict[str, Path]:
    """The files and folders by the kind of their model."""
    places = {name: write_backbone(folder / name, config, seed) for name, (config, seed) in BACKBONES.items()}
    vae = _build_vae(BACKBONES["sd15"][1]).state_dict()
    for task in ("depth", "segmentation", "referring"):
        places[f"vpd-{task}"] = _write_dense(task, folder / f"vpd-{task}.pth", vae)
    places["sdpose-body"] = _write_pose(folder / "sdpose")
    places["diffews"] = _write_few_shot(folder / "diffews")
    return places


def add_all(originals: dict[str, Path], models_folder: Path) -> None:
    """As `diffsight models add KIND=PLACE ... --any-size` does."""
    for kind, place in originals.items():
        add_model(PUBLISHED[kind], folder=models_folder, source=str(place), any_size=True, say=lambda line: None)


def _build_vae(seed: int) -> nn.Module:
    torch.manual_seed(100 + seed)
    build: Any = AutoencoderKL
    network: nn.Module = build(
        block_out_channels=(4, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
        norm_num_groups=4,
    )
    return network


def write_backbone(folder: Path, config: dict[str, Any], seed: int) -> Path:
    """A whole diffusers folder with a random U-Net of this configuration."""
    shutil.copytree(WEIGHTS / "sd1", folder)
    for part in ("unet", "vae", "text_encoder"):
        shutil.rmtree(folder / part)
    stock_unet(config, seed).save_pretrained(folder / "unet")
    vae: Any = _build_vae(seed)
    vae.save_pretrained(folder / "vae")
    torch.manual_seed(200 + seed)
    width = config["cross_attention_dim"]
    given = json.loads((WEIGHTS / "sd1/text_encoder/config.json").read_text())
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = CLIPTextModel(CLIPTextConfig(**{**given, **sizes}))
    (folder / "text_encoder").mkdir()
    save_file(text.state_dict(), folder / "text_encoder/model.safetensors")
    (folder / "text_encoder/config.json").write_text(json.dumps({**given, **sizes}))
    return folder


def _tuned(tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: value + 0.02 * torch.randn(value.shape, generator=generator) for key, value in tensors.items()}


def _head(shapes: Shapes) -> dict[str, Tensor]:
    """Weights of a head: widths that follow the U-Net's are a 20th, as the U-Net's are, others a 32nd.

    Values are small enough that nothing overflows; statistics of batch norms are positive.
    """
    generator = torch.Generator().manual_seed(len(shapes))

    def side(size: int) -> int:
        for maps in (0, 150, 40):  # attention maps of classes, or of tokens, stand behind the features of one level
            if size > maps and (size - maps) % 320 == 0:
                return (size - maps) // 20 + maps
        return size // 32 if size >= 128 and size % 32 == 0 else size

    values = {key: 0.05 * torch.randn([side(size) for size in shape], generator=generator)
              for key, shape in shapes.items()}  # fmt: skip
    return {key: value.abs() + 0.5 if "running_var" in key else value for key, value in values.items()}


def _write_dense(task: str, file: Path, vae: dict[str, Tensor]) -> Path:
    prefix = "encoder." if task == "depth" else ""
    config, seed = BACKBONES["sd15"]
    unet = _tuned(stock_unet(config, seed).state_dict(), len(task))
    tensors = renamed(unet, unet_modules(2, ATTENDS), f"{prefix}unet.unet.diffusion_model.")
    if task == "depth":
        tensors = {key: value for key, value in tensors.items() if ".diffusion_model.out." not in key}
    encoder = vae_tensors({key: value for key, value in vae.items() if not key.startswith("decoder.")}, depth=2)
    tensors |= {key.replace("first_stage_model.", f"{prefix}encoder_vq."): value for key, value in encoder.items()}
    tensors |= _head(dense_keys(task))
    torch.save({"state_dict" if task == "segmentation" else "model": tensors}, file)
    return file


def _write_pose(folder: Path) -> Path:
    for part in ("unet", "decoder", "scheduler"):
        (folder / part).mkdir(parents=True)
    config, seed = BACKBONES["sd21"]
    unet = stock_unet(config | POSE, seed).state_dict()
    own = _tuned(stock_unet(config, seed).state_dict(), 31)
    save_file(unet | own, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "unet/config.json").write_text(json.dumps(config | POSE))
    save_file(_head(pose_keys("body")), folder / "decoder/decoder.safetensors")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "sample"}))
    return folder


def _write_few_shot(folder: Path) -> Path:
    config, seed = BACKBONES["sd21"]
    unet = _tuned(stock_unet(config, seed).state_dict(), 41)
    convolution, bias = unet["conv_in.weight"], unet["conv_in.bias"].clone()
    unet |= {"conv_in_ref.weight": torch.cat([convolution, convolution], 1) / 2, "conv_in_ref.bias": bias}
    (folder / "unet").mkdir(parents=True)
    save_file(unet, folder / "unet/diffusion_pytorch_model.safetensors")
    about = config | {"_class_name": "MyUNet2DConditionModel", "in_channels_ref": 8}
    (folder / "unet/config.json").write_text(json.dumps(about))
    return folder
