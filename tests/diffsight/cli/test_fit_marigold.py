"""`diffsight fit depth-relative|normals`: what was fitted is measured, and predicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from backbones.errors import InvalidInput
from tests.diffsight.command import invoke

LAST = ("--part", "conv_out", "--half", "--json")


@pytest.fixture(scope="module")
def slopes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of a slope, with depth of which the left edge is missing."""
    folder = tmp_path_factory.mktemp("slopes")
    (folder / "images").mkdir()
    (folder / "depth").mkdir()
    for number in range(4):
        shade = np.linspace(40 * number, 250, 64, dtype=np.uint8)[:, None, None]
        Image.fromarray(np.broadcast_to(shade, (64, 48, 3)).copy()).save(folder / f"images/{number}.png")
        metres = np.broadcast_to(np.linspace(6000, 2000 + 500 * number, 64)[:, None], (64, 48)).astype(np.uint16)
        metres[:, :4] = 0
        Image.fromarray(metres).save(folder / f"depth/{number}.png")
    return folder


@pytest.mark.parametrize("task", ["depth-relative", "normals"])
def test_the_fitted_network_is_measured_and_predicts(task: str, slopes_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--steps", 8, "--batch", 2, "--learning-rate", 5e-3, *LAST)
    report = json.loads(invoke("fit", task, slopes_folder, "--out", out, *options))
    assert report["examples"] == 4
    assert report["last_loss"] < report["first_loss"]
    with safe_open(out / "unet/diffusion_pytorch_model.safetensors", "pt") as weights:
        names = {"conv_in.weight", "conv_in.bias", "conv_out.weight", "conv_out.bias"}
        assert set(weights.keys()) == names | {"time_embedding.linear_2.bias"}
    layout = ("--layout", "world") if task == "depth-relative" else ()
    figures = json.loads(invoke("evaluate", task, slopes_folder, *layout, "--head", out, "--most", 2, "--json"))
    assert figures["n_valid"] > 0
    assert figures["abs_rel" if task == "depth-relative" else "mean_angle"] > 0
    if task == "normals":
        return
    array = tmp_path / "map.npy"
    answer = json.loads(
        invoke("predict", task, slopes_folder / "images/0.png", "--weights", out, "--npy", array, "--json")
    )
    assert (answer["steps"], answer["ensemble_size"]) == (1, 1)
    assert np.load(array).shape[:2] == (64, 48)


def test_another_networks_folder_is_left_alone(slopes_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(InvalidInput, match="another network's unet"):
        invoke("fit", "normals", slopes_folder, "--out", tmp_path, "--steps", 1)
