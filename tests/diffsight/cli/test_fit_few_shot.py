"""fit, predict and evaluate few-shot on tiny data: the layouts of the benchmarks, and a fitted U-Net that serves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.errors import InvalidInput
from tests.diffsight.command import invoke


def test_fitting_again_leaves_other_files_and_refuses_another_networks_folder(
    few_shot_folder: Path, tmp_path: Path
) -> None:
    (few_shot_folder / "out/README.md").write_text("mine")
    data = (few_shot_folder / "images", few_shot_folder / "masks")
    invoke("fit", "few-shot", *data, "--out", few_shot_folder / "out", "--steps", 1, "--batch", 1, "--part", "attn1")
    assert sorted(file.name for file in (few_shot_folder / "out").iterdir()) == ["README.md", "unet"]
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="another network's unet"):
        invoke("fit", "few-shot", *data, "--out", tmp_path, "--steps", 1)
    assert (tmp_path / "unet/config.json").read_text() == "{}"


def test_the_fitted_network_predicts_masks(few_shot_folder: Path, tmp_path: Path) -> None:
    mask = np.array(Image.open(few_shot_folder / "masks/1.png")) == 1
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    supports = ("--support", few_shot_folder / "images/1.png", "--mask", tmp_path / "mask.png")
    image = few_shot_folder / "images/0.png"
    files = ("--png", tmp_path / "mask_found.png", "--overlay", tmp_path / "overlay.png")
    options = ("--weights", few_shot_folder / "out", *files, "--json")
    answer = json.loads(invoke("predict", "few-shot", image, *supports, *options))
    assert 0 <= answer["concepts"][0]["mask"]["share"] <= 1
    assert np.array(Image.open(tmp_path / "mask_found.png")).shape == (48, 64)
    assert np.array(Image.open(tmp_path / "overlay.png")).shape == (48, 64, 3)
