"""Folders of images, a fitted head and a file of keys, for commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.loading.source import open_backbone
from heads.vpd.checkpoint import FittedAs, save_fitted
from tests.diffsight.command import invoke
from tests.heads.vpd.conftest import random_network
from tests.training.few_shot_layouts import draw_classes
from training.datasets.digits import DIGIT_NAMES, load_training_digits


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each of three digits, one folder a class."""
    root = tmp_path_factory.mktemp("digits")
    digits = load_training_digits()
    for digit in range(3):
        (root / DIGIT_NAMES[digit]).mkdir()
        for index in np.flatnonzero(digits.labels == digit)[:4].tolist():
            Image.fromarray(digits.image(index)).save(root / DIGIT_NAMES[digit] / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def depth_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a depth head for `pocket`, its weights random."""
    file = tmp_path_factory.mktemp("heads") / "depth.safetensors"
    backbone = open_backbone("pocket")
    described = backbone.description
    fitted_as = FittedAs("depth", "pocket", described.revision, described.image_size)
    save_fitted(file, random_network(backbone, "depth"), fitted_as)
    return file


@pytest.fixture
def keys_file(tmp_path: Path) -> dict[str, str]:
    """The variable that gives this test a file of keys of its own."""
    return {"DIFFSIGHT_ACCESS__KEYS_FILE": str(tmp_path / "keys.json")}


@pytest.fixture(scope="module")
def few_shot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, `masks` and `out`, the network that was fitted to them."""
    folder = tmp_path_factory.mktemp("fit")
    for number in range(4):
        draw_classes(folder / f"images/{number}.png", folder / f"masks/{number}.png", (1, 2), number)
    options = ("--steps", 3, "--batch", 2, "--part", "attn1", "--learning-rate", 1e-3, "--json")
    report = json.loads(
        invoke("fit", "few-shot", folder / "images", folder / "masks", "--out", folder / "out", *options)
    )
    assert report["classes"] == [1, 2]
    assert (folder / "out/unet/config.json").is_file()
    return folder
