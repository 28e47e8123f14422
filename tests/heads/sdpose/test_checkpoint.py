"""Pose networks from folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from backbones.engine import DirectEngine, complete
from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from heads.sdpose.checkpoint import open_pose, open_published, save_fitted
from heads.sdpose.estimation import PoseModel, estimate_poses
from heads.sdpose.head import HeatmapHead
from heads.sdpose.skeletons import COCO_17
from tests.heads.sdpose.conftest import PUBLISHED, SIZE

Image = NDArray[np.uint8]


@pytest.fixture
def folder_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "SDPose-Wholebody"
    shutil.copytree(PUBLISHED, folder)
    return folder


def test_a_variant_answers_as_the_whole_folder_does(
    published_model: tuple[DirectEngine, PoseModel], backbone_folder: Path, image: Image
) -> None:
    backbone = load_diffusers_folder(backbone_folder)
    model = open_pose(backbone, PUBLISHED, size=SIZE)
    assert backbone.description.variants == ("pose",)
    poses = complete(estimate_poses(DirectEngine(backbone), model, image))
    expected = complete(estimate_poses(*published_model, image))
    np.testing.assert_allclose(poses.scores, expected.scores, atol=1e-4)


def test_the_layout_of_added_models_is_read(folder_copy: Path, backbone_folder: Path) -> None:
    (folder_copy / "decoder/decoder.safetensors").rename(folder_copy / "head.safetensors")
    (folder_copy / "unet/config.json").unlink()
    own = json.loads((PUBLISHED / "unet/config.json").read_text())
    (folder_copy / "unet/config.json").write_text(json.dumps(own))
    model = open_pose(load_diffusers_folder(backbone_folder), folder_copy)
    assert len(model.skeleton) == 133
    assert model.features == ("up_blocks.2",)
    assert model.size == (768, 1024)


def test_without_its_head_it_is_an_error(folder_copy: Path) -> None:
    (folder_copy / "decoder/decoder.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"decoder\.safetensors"):
        open_published(folder_copy)


def test_another_scheduler_is_an_error(folder_copy: Path) -> None:
    file = folder_copy / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "epsilon"}))
    with pytest.raises(CheckpointError, match="sample"):
        open_published(folder_copy)


def test_a_head_of_other_keys_lists_them(folder_copy: Path) -> None:
    file = folder_copy / "decoder/decoder.safetensors"
    tensors = load_file(file)
    tensors["surprise"] = tensors.pop("conv_layers.0.weight")
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as raised:
        open_published(folder_copy)
    assert raised.value.missing == ("conv_layers.0.weight",)
    assert raised.value.unexpected == ("surprise",)


def test_a_head_of_another_number_of_points_is_an_error(folder_copy: Path) -> None:
    file = folder_copy / "decoder/decoder.safetensors"
    tensors = {key: value[:30] if key.startswith("final_layer") else value for key, value in load_file(file).items()}
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="30 keypoints"):
        open_published(folder_copy)


def test_over_another_architecture_the_error_says_what_is_needed() -> None:
    from backbones.loading.source import open_backbone

    with pytest.raises(CheckpointError):
        open_pose(open_backbone("pocket"), PUBLISHED)


@pytest.fixture
def fitted_model(backbone_folder: Path) -> tuple[DirectEngine, PoseModel]:
    """A head with random weights on frozen features of two levels."""
    backbone = load_diffusers_folder(backbone_folder)
    generator = torch.Generator().manual_seed(4)
    head = HeatmapHead(40, len(COCO_17)).initialise(generator)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    model = PoseModel(
        "mine", head.eval(), COCO_17, (64, 96), "", 50, ("up_blocks.1", "up_blocks.2"), 0.18215, "not saved yet"
    )
    return DirectEngine(backbone), model


def test_a_fitted_head_comes_back_as_it_was(
    fitted_model: tuple[DirectEngine, PoseModel], tmp_path: Path, image: Image
) -> None:
    engine, model = fitted_model
    save_fitted(tmp_path / "mine", model, engine.model, {"images": 3})  # type: ignore[arg-type]
    opened = open_pose(engine.model, tmp_path / "mine")  # type: ignore[arg-type]
    assert (opened.size, opened.features, opened.timestep) == (model.size, model.features, 50)
    assert opened.skeleton == COCO_17
    assert opened.variant == ""
    before, after = (complete(estimate_poses(engine, either, image)) for either in (model, opened))
    np.testing.assert_array_equal(before.points, after.points)
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == ["head.safetensors", "pose.json"]


def test_a_folder_with_another_networks_unet_is_not_written_to(
    fitted_model: tuple[DirectEngine, PoseModel], tmp_path: Path
) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(InvalidInput, match="another network's unet"):
        save_fitted(tmp_path, fitted_model[1], fitted_model[0].model, {})  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["unet"]


def test_a_fitted_head_is_refused_by_another_backbone(
    fitted_model: tuple[DirectEngine, PoseModel], tmp_path: Path
) -> None:
    from backbones.loading.source import open_backbone

    engine, model = fitted_model
    save_fitted(tmp_path / "mine", model, engine.model, {})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="fitted on the backbone 'base'"):
        open_pose(open_backbone("pocket"), tmp_path / "mine")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 9}', '{"format": 1}'])
def test_a_damaged_description_is_an_error(
    fitted_model: tuple[DirectEngine, PoseModel], tmp_path: Path, content: str
) -> None:
    (tmp_path / "pose.json").write_text(content)
    with pytest.raises(CheckpointError, match="description"):
        open_pose(fitted_model[0].model, tmp_path)  # type: ignore[arg-type]
