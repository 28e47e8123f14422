"""Opening of folders: their description, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backbones.errors import CheckpointError, ModelNotFound
from backbones.stable_diffusion import StableDiffusion
from heads.marigold.model import find_shipped_marigold, open_marigold
from tests.backbones.small_networks import stock_unet
from tests.heads.marigold.original_files import write_original, write_settings


@pytest.fixture
def folder(backbone: StableDiffusion, tmp_path: Path) -> Path:
    return write_original("depth", tmp_path / "depth", unet=backbone.variants[""].unet.config)  # type: ignore[arg-type]


def change(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def test_a_folder_says_how_it_is_run(backbone: StableDiffusion, folder: Path) -> None:
    model = open_marigold("depth", backbone, folder)
    assert (model.steps, model.resolution, model.noise) == (2, 64, "gaussian")
    assert model.scale_invariant
    assert model.shift_invariant
    assert model.start_schedule(4).timesteps.tolist() == [999, 749, 499, 249]
    change(folder / "model_index.json", scale_invariant=False, shift_invariant=False, noise="zeros")
    other = open_marigold("depth", backbone, folder)
    assert (other.scale_invariant, other.shift_invariant, other.noise) == (False, False, "zeros")
    assert other.revision != model.revision


def test_the_backbone_keeps_its_own_convolution_and_shares_it(backbone: StableDiffusion, folder: Path) -> None:
    open_marigold("depth", backbone, folder)
    variant = backbone.variants["marigold-depth"]
    own = backbone.variants[""].unet.get_submodule("conv_in")
    assert variant.unet.get_submodule("conv_in").weight.data_ptr() == own.weight.data_ptr()  # type: ignore[operator]
    assert variant.input_convolutions["pair"].in_channels == 2 * backbone.description.latent_channels


def test_a_folder_that_does_not_fit_the_task_is_refused(
    backbone: StableDiffusion, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFound, match="models add marigold-normals"):
        open_marigold("normals", backbone)
    with pytest.raises(CheckpointError, match="it predicts 'depth'"):
        open_marigold("normals", backbone, folder)
    change(folder / "scheduler/scheduler_config.json", _class_name="EulerDiscreteScheduler")
    with pytest.raises(CheckpointError, match="DDIMScheduler, LCMScheduler"):
        open_marigold("depth", backbone, folder)
    with pytest.raises(ModelNotFound, match=r"model_index\.json is missing"):
        open_marigold("depth", backbone, tmp_path)


def test_a_plain_network_is_refused(backbone: StableDiffusion, tmp_path: Path) -> None:
    config: Any = backbone.variants[""].unet.config
    stock_unet(dict(config)).save_pretrained(tmp_path / "unet")
    write_settings("depth", tmp_path)
    with pytest.raises(CheckpointError, match="takes 4 channels, where 8 belong"):
        open_marigold("depth", backbone, tmp_path)


def test_nothing_ships_for_a_backbone_that_nothing_was_fitted_to(backbone: StableDiffusion) -> None:
    assert find_shipped_marigold("depth", backbone) is None
