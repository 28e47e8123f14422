"""The published layout in each of its nestings, fine-tuned parts, and the start of training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.variants import BASE_REVISION
from backbones.stable_diffusion import StableDiffusion
from heads.diffews.bank import SUPPORT, VARIANT
from heads.diffews.checkpoint import load_few_shot
from tests.heads.diffews.conftest import WEIGHTS

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def plain_backbone() -> StableDiffusion:
    return load_diffusers_folder(WEIGHTS / "sd2")


@pytest.fixture
def published_folder(backbone: StableDiffusion, tmp_path: Path) -> Path:
    """A folder as DiffewS publishes it: the U-Net, `conv_in_ref` in the same file, the original class in its config."""
    folder = tmp_path / "coco_fold0/unet"
    folder.mkdir(parents=True)
    variant = backbone.variants[VARIANT]
    tensors = {name: (tensor + 0.01).contiguous() for name, tensor in variant.unet.state_dict().items()}
    convolution = variant.input_convolutions[SUPPORT].state_dict()
    tensors |= {f"conv_in_ref.{name}": (tensor + 0.02).contiguous() for name, tensor in convolution.items()}
    save_file(tensors, folder / FILE)
    config = json.loads((WEIGHTS / "sd2/unet/config.json").read_text())
    config |= {"_class_name": "MyUNet2DConditionModel", "in_channels_ref": 8}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("nesting", [".", "..", "twice"])
def test_the_published_layout_loads_in_every_nesting(
    nesting: str, plain_backbone: StableDiffusion, published_folder: Path
) -> None:
    source = published_folder / nesting
    if nesting == "twice":
        source = published_folder.parent / "more"
        shutil.copytree(published_folder.parent, source / "unet")
    load_few_shot(plain_backbone, source)
    loaded, stored = plain_backbone.variants[VARIANT], load_file(published_folder / FILE)
    assert torch.equal(loaded.input_convolutions[SUPPORT].weight, stored["conv_in_ref.weight"])
    assert torch.equal(loaded.unet.state_dict()["conv_in.weight"], stored["conv_in.weight"])


@pytest.mark.parametrize("missing", ["conv_in_ref.weight", "conv_in_ref.bias", "conv_out.bias"])
def test_a_missing_tensor_is_named(missing: str, plain_backbone: StableDiffusion, published_folder: Path) -> None:
    tensors = load_file(published_folder / FILE)
    del tensors[missing]
    save_file(tensors, published_folder / FILE)
    with pytest.raises(CheckpointError) as refused:
        load_few_shot(plain_backbone, published_folder)
    assert missing.removeprefix("conv_in_ref.") in str(refused.value)


def test_a_folder_without_a_network_is_not_found(plain_backbone: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_few_shot(plain_backbone, tmp_path)


def parts_only(published_folder: Path, revision: str) -> None:
    """Leave the fine-tuned parts alone in the folder."""
    tensors = load_file(published_folder / FILE)
    kept = {name: tensor for name, tensor in tensors.items() if "attn1" in name or name.startswith("conv_")}
    save_file(kept, published_folder / FILE)
    config = json.loads((published_folder / "config.json").read_text())
    (published_folder / "config.json").write_text(json.dumps(config | {BASE_REVISION: revision}))


def test_parts_take_the_rest_from_their_backbone(plain_backbone: StableDiffusion, published_folder: Path) -> None:
    parts_only(published_folder, plain_backbone.description.revision)
    load_few_shot(plain_backbone, published_folder)
    weights, own = plain_backbone.variants[VARIANT].unet.state_dict(), plain_backbone.variants[""].unet.state_dict()
    fitted = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight"
    lent = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert not torch.equal(weights[fitted], own[fitted])
    assert torch.equal(weights[lent], own[lent])


def test_parts_of_another_backbone_are_refused(plain_backbone: StableDiffusion, published_folder: Path) -> None:
    parts_only(published_folder, "0123456789abcdef")
    with pytest.raises(CheckpointError, match="revision 0123456789abcdef"):
        load_few_shot(plain_backbone, published_folder)


def test_the_start_of_training_is_half_the_first_convolution_for_each_input(backbone: StableDiffusion) -> None:
    variant = backbone.variants[VARIANT]
    own = variant.unet.get_submodule("conv_in")
    start = variant.input_convolutions[SUPPORT]
    inputs = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(start(torch.cat([inputs, inputs], dim=1)), own(inputs), atol=1e-5, rtol=1e-5)
