"""Small heads with random weights on the embedded backbone, and a published checkpoint made over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backbones.engine import DirectEngine
from backbones.loading.source import open_backbone
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import build_published_head, list_feature_channels
from heads.vpd.depth_network import DepthNetwork
from heads.vpd.heads import DenseTask, Head
from heads.vpd.referring_network import ReferringNetwork
from heads.vpd.segmentation_network import SegmentationNetwork
from tests.backbones.original_layout import rename_modules, unet_modules, vae_tensors

CLASSES, TOKENS = 5, 9


@pytest.fixture(scope="session")
def backbone() -> StableDiffusion:
    return open_backbone("pocket")


@pytest.fixture(scope="session")
def engine(backbone: StableDiffusion) -> DirectEngine:
    return DirectEngine(backbone)


def random_network(backbone: StableDiffusion, task: DenseTask) -> nn.Module:
    """A network of the task that fits the backbone's channels, every weight random."""
    unet: Any = backbone.variants[""].unet
    width = unet.config.cross_attention_dim
    fine, middle, coarse, coarsest = list_feature_channels(backbone)
    network: nn.Module
    if task == "depth":
        network = DepthNetwork(
            (fine, middle, coarse, coarsest),
            encoder_channels=32,
            deconv_channels=(16, 16, 16),
            deconv_kernels=(2, 2, 2),
            decoder_channels=16,
            scenes=CLASSES,
            text_width=width,
        )
    elif task == "segmentation":
        channels = (fine, middle + CLASSES, coarse + CLASSES, coarsest)
        network = SegmentationNetwork(channels, neck_channels=16, head_channels=16, classes=CLASSES, text_width=width)
    else:
        channels = (fine, middle + TOKENS, coarse + TOKENS, coarsest)
        network = ReferringNetwork(channels, hidden=16, text_width=width)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator) * 0.2
            tensor.copy_(drawn.abs() + 0.5 if name.endswith(("running_var", "bn.weight")) else drawn)
    return network.eval()


def build_head(backbone: StableDiffusion, task: DenseTask) -> Head:
    """A random head that reads the backbone's own U-Net."""
    state = random_network(backbone, task).state_dict()
    return build_published_head(backbone, task, state, "random", variant="", size=backbone.description.image_size)


@pytest.fixture(scope="session")
def heads(backbone: StableDiffusion) -> dict[str, Head]:
    tasks: tuple[DenseTask, ...] = ("depth", "segmentation", "referring")
    return {task: build_head(backbone, task) for task in tasks}


def original_tensors(backbone: StableDiffusion, task: DenseTask) -> dict[str, Tensor]:
    """What a published checkpoint of the task would hold over this backbone, its U-Net a little changed."""
    unet: Any = backbone.variants[""].unet
    prefix = "encoder." if task == "depth" else ""
    state = {key: tensor * 1.3 if tensor.is_floating_point() else tensor for key, tensor in unet.state_dict().items()}
    attends = tuple("CrossAttn" in kind for kind in unet.config.down_block_types)
    converted = rename_modules(state, unet_modules(unet.config.layers_per_block, attends), "")
    if task == "depth":
        converted = {key: tensor for key, tensor in converted.items() if not key.startswith("out.")}
    tensors = {f"{prefix}unet.unet.diffusion_model.{key}": tensor for key, tensor in converted.items()}
    vae = backbone.vae.config
    for key, vae_tensor in vae_tensors(
        backbone.vae.state_dict(), len(vae.block_out_channels), vae.layers_per_block
    ).items():
        name = key.removeprefix("first_stage_model.")
        if not name.startswith("decoder."):
            tensors[f"{prefix}encoder_vq.{name}"] = vae_tensor
    if task == "segmentation":
        tensors["sd_model.betas"] = torch.zeros(1000)
    tensors |= random_network(backbone, task).state_dict()
    return {key: tensor.clone().contiguous() for key, tensor in tensors.items()}


@pytest.fixture
def original_file(backbone: StableDiffusion, tmp_path: Path) -> Any:
    """Writes a published checkpoint: original_file("depth") -> its path."""

    def write(task: DenseTask) -> Path:
        file = tmp_path / f"{task}.safetensors"
        save_file(original_tensors(backbone, task), file)
        return file

    return write


@pytest.fixture(scope="session")
def photo() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(90, 120, 3) uint8: a gradient with a bright box."""
    rows, columns = np.mgrid[:90, :120]
    image = np.stack([rows * 2, columns * 2, rows + columns], axis=2).astype(np.uint8)
    image[30:60, 40:80] = (250, 30, 30)
    return image
