"""Conversion of published folders: which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backbones.errors import CheckpointError, ModelNotFound
from heads.marigold.published import PUBLISHED
from tests.backbones.small_networks import SD2
from tests.heads.marigold.original_files import write_original

KINDS = {model.kind: model for model in PUBLISHED}


def convert(kind: str, folder: Path, target: Path) -> Path:
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    model = KINDS[kind]
    model.convert(folder, model.select_files(names, folder), target, any_size=True)
    return target


def test_networks_fine_tuned_end_to_end_start_from_zeros(tmp_path: Path) -> None:
    folder = write_original("depth", tmp_path / "depth")
    for kind, noise in (("marigold-depth", None), ("marigold-depth-e2e", "zeros")):
        weights = convert(kind, folder, tmp_path / kind)
        assert json.loads((weights / "model_index.json").read_text()).get("noise") == noise
        assert KINDS[kind].verify(weights, any_size=True) == "float32"


def test_a_network_of_the_other_task_is_refused(tmp_path: Path) -> None:
    weights = convert("marigold-depth", write_original("normals", tmp_path / "normals"), tmp_path / "weights")
    with pytest.raises(CheckpointError, match="it predicts 'normals'"):
        KINDS["marigold-depth"].verify(weights, any_size=True)


def test_a_plain_network_is_refused(tmp_path: Path) -> None:
    folder = write_original("depth", tmp_path / "depth", unet={**SD2, "in_channels": 2})
    weights = convert("marigold-depth", folder, tmp_path / "weights")
    with pytest.raises(CheckpointError, match="not the latents of an image and of a prediction"):
        KINDS["marigold-depth"].verify(weights, any_size=True)


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    folder = write_original("depth", tmp_path / "depth")
    (folder / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"missing scheduler/scheduler_config\.json"):
        convert("marigold-depth", folder, tmp_path / "weights")
