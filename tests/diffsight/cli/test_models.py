"""`diffsight models` as it is installed: add, list, check, remove, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backbones.loading.add import add_model
from service.models.known import PUBLISHED
from tests.backbones.small_models import WEIGHTS
from tests.diffsight.command import assert_one_line_error, diffsight
from tests.service.models.originals import write_original


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models' folder with a small sd15 and a small diffews."""
    models = tmp_path / "models"
    add_model(PUBLISHED["sd15"], source=str(WEIGHTS / "sd1"), folder=models, any_size=True)
    source = write_original("diffews", tmp_path / "original")
    add_model(PUBLISHED["diffews"], source=str(source), folder=models, any_size=True)
    return models


def test_a_model_is_added_by_the_command_and_added_twice(tmp_path: Path) -> None:
    file = write_original("vpd-referring", tmp_path / "original")
    command = ("models", "add", "vpd-referring", "--from", file, "--any-size", "--models-folder", tmp_path / "models")
    done = diffsight(*command)
    assert done.returncode == 0, done.stderr
    assert "vpd-referring is ready: " in done.stdout
    again = diffsight(*command, "--json")
    assert again.returncode == 0
    assert again.stderr == "vpd-referring is there already, and verified\n"
    entry = json.loads(again.stdout)
    assert entry["files"].keys() == {"head.safetensors", "unet/diffusion_pytorch_model.safetensors", "vae.safetensors"}
    assert entry["source"] == str(file)


def test_the_list_shows_what_was_added_and_what_is_served(folder: Path) -> None:
    done = diffsight("models", "list", "--json", DIFFSIGHT_MODELS_FOLDER=str(folder), DIFFSIGHT_BACKBONE="sd15")
    listed = {line["backbone"]: line for line in json.loads(done.stdout)}
    assert {name: entry["served"] for name, entry in listed.items()} == {
        "pocket": False,
        "diffews": False,
        "sd15": True,
    }
    assert listed["diffews"]["kind"] == "diffews"
    assert "over sd21, float32" in listed["diffews"]["about"]
    table = diffsight("models", DIFFSIGHT_MODELS_FOLDER=str(folder), DIFFSIGHT_BACKBONE="sd15").stdout
    assert "sd15  (what the settings serve)" in table
    assert "commercial use on request" in table


def test_check_reports_what_is_wrong_and_fails(folder: Path) -> None:
    file = folder / "diffews/weights/unet/config.json"
    file.write_text(file.read_text().replace("40", "41", 1))
    done = diffsight("models", "check", "--models-folder", folder)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[:2] == ["diffews:", "  unet/config.json: other content than when it was added (SHA-256)"]
    assert lines[-1] == "sd15: verified"
    assert diffsight("models", "check", "sd15", "--models-folder", folder).returncode == 0


def test_remove_asks_first_and_keeps_what_is_served(folder: Path) -> None:
    place = ("--models-folder", folder)
    assert_one_line_error(diffsight("models", "remove", "pocket"), "pocket", "can not be removed")
    assert_one_line_error(diffsight("models", "remove", "none", *place), "no model 'none'", "diffews, sd15")
    refused = diffsight("models", "remove", "sd15", "--yes", *place, DIFFSIGHT_BACKBONE="sd15")
    assert_one_line_error(refused, "the settings serve 'sd15'", "--force")
    # There is no answer on standard input.
    assert diffsight("models", "remove", "sd15", *place).returncode == 1
    assert (folder / "sd15/model.json").is_file()
    assert diffsight("models", "remove", "sd15", "--yes", "--force", *place, DIFFSIGHT_BACKBONE="sd15").returncode == 0
    assert not (folder / "sd15").exists()


def test_mistakes_of_add_are_one_line_with_the_next_step(tmp_path: Path) -> None:
    place = ("--models-folder", tmp_path)
    assert_one_line_error(diffsight("models", "add", "vpd-depth", *place), "github.com/wl-zhao/VPD", "--from PATH")
    assert_one_line_error(diffsight("models", "add", "sdxl", *place), "sdxl", "sd15")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_added_serves_as_backbone(folder: Path, tmp_path: Path, png: bytes) -> None:
    (tmp_path / "data/diffsight").mkdir(parents=True)
    folder.rename(tmp_path / "data/diffsight/models")
    (tmp_path / "picture.png").write_bytes(png)
    out = tmp_path / "features.npy"
    done = diffsight(
        "predict",
        "features",
        tmp_path / "picture.png",
        "--npy",
        out,
        "--backbone",
        "sd15",
        XDG_DATA_HOME=str(tmp_path / "data"),
    )
    assert done.returncode == 0, done.stderr
    assert out.is_file()


def test_models_lists_the_embedded_backbone_and_the_chosen_one(tmp_path: Path) -> None:
    done = diffsight("models", "--backbone", tmp_path, "--json")
    pocket, chosen = json.loads(done.stdout)
    assert (pocket["backbone"], pocket["served"]) == ("pocket", False)
    assert "diffusers folder" in pocket["found"]
    assert (chosen["backbone"], chosen["served"]) == (str(tmp_path), True)
    assert "no diffusers folder" in chosen["found"]
    assert "what the settings serve" in diffsight("models").stdout
