"""Published checkpoints load by their own key names, errors list wrong keys, and fitted heads read back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.engine import DirectEngine, complete
from backbones.errors import CheckpointError, DiffsightError
from backbones.loading.source import open_backbone
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import FittedAs, open_head, read_fitted, save_fitted
from heads.vpd.depth import predict_depth
from heads.vpd.heads import DepthHead, ReferringHead, SegmentationHead
from tests.heads.vpd.conftest import CLASSES, TOKENS, random_network

TASKS = ["depth", "segmentation", "referring"]


@pytest.fixture
def own_backbone() -> StableDiffusion:
    """A backbone of this test, to which variants may be added."""
    return open_backbone("pocket")


@pytest.mark.parametrize("task", TASKS)
def test_a_published_checkpoint_becomes_a_variant_and_a_head(
    own_backbone: StableDiffusion, original_file: Any, task: Any
) -> None:
    head = open_head(own_backbone, task, original_file(task))
    assert own_backbone.description.variants == (f"vpd-{task}",)
    assert head.variant == f"vpd-{task}"
    if isinstance(head, DepthHead):
        assert head.contexts.shape[0] == CLASSES
    elif isinstance(head, SegmentationHead):
        assert len(head.classes) == CLASSES
    else:
        assert isinstance(head, ReferringHead)
        assert head.tokens == TOKENS


def test_the_fine_tuned_network_answers(own_backbone: StableDiffusion, original_file: Any, photo: Any) -> None:
    head = open_head(own_backbone, "depth", original_file("depth"), size=64)
    assert isinstance(head, DepthHead)
    engine = DirectEngine(own_backbone)
    tuned = complete(predict_depth(engine, photo, head)).metres
    plain = complete(predict_depth(engine, photo, DepthHead(head.network, head.layers, head.contexts, size=64))).metres
    assert abs(tuned - plain).max() > 1e-4


def test_a_torch_file_with_the_trainers_options_loads(
    own_backbone: StableDiffusion, original_file: Any, tmp_path: Path
) -> None:
    tensors = {f"module.{key}": tensor for key, tensor in load_file(original_file("referring")).items()}
    file = tmp_path / "model_best.pth"
    torch.save({"model": tensors, "args": argparse.Namespace(lr=5e-5), "epoch": 3}, file)
    assert isinstance(open_head(own_backbone, "referring", file), ReferringHead)


@pytest.mark.parametrize("task", TASKS)
def test_a_partial_or_foreign_file_lists_what_is_wrong(
    own_backbone: StableDiffusion, original_file: Any, task: Any, tmp_path: Path
) -> None:
    tensors = load_file(original_file(task))
    last = [key for key in tensors if key.endswith("weight") and "unet" not in key and "vq" not in key][-1]
    changed = {key: tensor for key, tensor in tensors.items() if key != last} | {"stranger": torch.zeros(1)}
    save_file(changed, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_head(own_backbone, task, tmp_path / "broken.safetensors")
    assert caught.value.missing == (last,)
    assert caught.value.unexpected == ("stranger",)
    other = TASKS[(TASKS.index(task) + 1) % 3]
    with pytest.raises(CheckpointError, match="missing"):
        open_head(own_backbone, task, original_file(other))
    assert own_backbone.description.variants == ()


def test_a_u_net_with_a_tensor_less_is_refused(
    own_backbone: StableDiffusion, original_file: Any, tmp_path: Path
) -> None:
    tensors = load_file(original_file("depth"))
    missing_key = next(key for key in tensors if "diffusion_model.middle_block" in key)
    save_file({key: tensor for key, tensor in tensors.items() if key != missing_key}, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match="mid_block"):
        open_head(own_backbone, "depth", tmp_path / "broken.safetensors")


def test_another_vae_is_refused(own_backbone: StableDiffusion, original_file: Any, tmp_path: Path) -> None:
    tensors = load_file(original_file("segmentation"))
    tensors["encoder_vq.encoder.conv_in.weight"] += 0.5
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="VAE"):
        open_head(own_backbone, "segmentation", tmp_path / "other.safetensors")


def make_fitted_as(backbone: StableDiffusion, **other: Any) -> FittedAs:
    fields = {"task": "segmentation", "backbone": "pocket", "revision": backbone.description.revision, "size": 64}
    palette = tuple((index, index, index) for index in range(CLASSES))
    names = tuple(f"thing {index}" for index in range(CLASSES))
    return FittedAs(**{**fields, "classes": names, "palette": palette, **other})


def test_a_fitted_head_reads_back(backbone: StableDiffusion, tmp_path: Path) -> None:
    file = tmp_path / "segmentation.safetensors"
    network = random_network(backbone, "segmentation")
    save_fitted(file, network, make_fitted_as(backbone), half=False)
    assert read_fitted(file) == make_fitted_as(backbone)
    head = open_head(backbone, "segmentation", tmp_path)
    assert isinstance(head, SegmentationHead)
    assert head.classes[2] == "thing 2"
    assert (head.variant, head.size) == ("", 64)
    own = head.network.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in network.state_dict().items())


def test_a_fitted_head_of_other_weights_or_another_task_is_refused(backbone: StableDiffusion, tmp_path: Path) -> None:
    file = tmp_path / "head.safetensors"
    save_fitted(file, random_network(backbone, "segmentation"), make_fitted_as(backbone, revision="another"))
    with pytest.raises(CheckpointError, match="another"):
        open_head(backbone, "segmentation", file)
    with pytest.raises(CheckpointError, match="segmentation"):
        open_head(backbone, "depth", file)


def test_a_missing_file_is_reported_with_what_to_give(backbone: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(DiffsightError, match="diffsight fit depth"):
        open_head(backbone, "depth", tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(CheckpointError):
        open_head(backbone, "depth", tmp_path / "text.safetensors")
