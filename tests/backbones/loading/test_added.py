"""A backbone of the registry opens under its own name, and a fine-tuned U-Net says what to serve instead."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from backbones.errors import CheckpointError, InvalidInput
from backbones.loading.added import load_added
from tests.backbones.small_models import WEIGHTS
from tests.backbones.small_networks import entry_of


def test_a_backbone_is_called_by_the_name_of_its_entry(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "sd2v", tmp_path / "weights")
    backbone = load_added(replace(entry_of("sd21", tmp_path), name="mine"))
    assert backbone.description.name == "mine"
    assert backbone.description.prediction_type == "v_prediction"


@pytest.mark.parametrize(("base", "hint"), [("sd21", "serve sd21"), ("", "serve the backbone that it goes with")])
def test_a_fine_tuned_network_is_no_backbone(base: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"fine-tuned U-Net \(some-head\) and no backbone") as error:
        load_added(replace(entry_of("some-head", tmp_path), base=base))
    assert hint in error.value.hint


def test_a_folder_that_has_lost_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="add the model again"):
        load_added(entry_of("sd15", tmp_path))
