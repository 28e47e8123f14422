"""From settings to heads: opened once, missing without weights, refused if the weights do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.errors import DiffsightError, InvalidInput, ModelNotFound
from backbones.loading.source import open_backbone
from service.models.loading import OpenHeads, choose_device, find_weights, open_model
from service.settings.loader import load_settings
from service.tasks import TASKS
from tests.conftest import WITHOUT_HEADS

NOT_EMBEDDED = {"depth-relative", "normals"}
"""Tasks whose weights do not ship for `pocket`."""


def test_every_task_but_those_of_marigold_has_a_head_over_the_embedded_backbone() -> None:
    heads = OpenHeads(load_settings(device="cpu"), open_backbone("pocket"), TASKS)
    heads.open_all()
    assert heads.missing.keys() == NOT_EMBEDDED
    for task in TASKS:
        if task.name not in NOT_EMBEDDED:
            assert heads.find(task) is heads.require(task)


def test_a_task_without_weights_says_why() -> None:
    settings = load_settings(device="cpu", backbone=str(WITHOUT_HEADS))
    heads = OpenHeads(settings, open_model(settings), TASKS)
    heads.open_all()
    assert {"depth", "segmentation", "referring", "pose", "few-shot"} | NOT_EMBEDDED == heads.missing.keys()
    with pytest.raises(ModelNotFound, match="no depth head"):
        heads.require(heads.tasks["depth"])


def test_weights_that_are_named_and_not_there_are_no_missing_head(tmp_path: Path) -> None:
    settings = load_settings(device="cpu", heads={"depth": str(tmp_path / "nothing.safetensors")})
    heads = OpenHeads(settings, open_backbone("pocket"), TASKS)
    with pytest.raises(DiffsightError):
        heads.open_all()


def test_weights_of_a_command_go_before_those_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(heads={"depth": "a"}, models_folder=tmp_path)
    assert find_weights(settings, "depth") == Path("a")
    assert find_weights(settings, "depth", "b") == Path("b")
    assert find_weights(settings, "segmentation") is None


def test_a_folder_with_a_transformer_is_no_stable_diffusion(tmp_path: Path) -> None:
    assert choose_device("cpu") == "cpu"
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/config.json").write_text('{"_class_name": "DiTTransformer2DModel"}')
    with pytest.raises((InvalidInput, ModelNotFound)):
        open_model(load_settings(device="cpu", backbone=str(tmp_path)))
