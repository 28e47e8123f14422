"""What every published model does, whichever system declares it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.published import PUBLISHED
from backbones.loading.published_model import find_published, only_weights, unet_files

MODELS = {model.kind: model for model in PUBLISHED}
STEM = "diffusion_pytorch_model"


def test_an_unknown_kind_lists_the_known_ones() -> None:
    assert find_published(MODELS, "sd21").kind == "sd21"
    with pytest.raises(InvalidInput, match="sd15, sd21"):
        find_published(MODELS, "sdxl")


def test_missing_files_are_listed() -> None:
    model = MODELS["sd15"]
    assert model.check_complete(["b", "a"], {"a", "b", "c"}, "here") == ["b", "a"]
    with pytest.raises(ModelNotFound, match="here is not a complete sd15: missing a, d: download or copy it again"):
        model.check_complete(["a", "b", "d"], {"b"}, "here")


def test_the_only_weight_file_is_chosen() -> None:
    assert only_weights(["README.md", "a.pth"], "here") == ["a.pth"]
    for names in ([], ["a.pth", "b.bin"]):
        with pytest.raises(ModelNotFound, match="name the file itself"):
            only_weights(names, "here")


@pytest.mark.parametrize(
    ("names", "files"),
    [
        ([], ["unet/config.json", f"unet/{STEM}.safetensors"]),
        (["unet/config.json", f"unet/{STEM}.bin"], ["unet/config.json", f"unet/{STEM}.bin"]),
        (["config.json", f"{STEM}.bin", f"{STEM}.safetensors"], ["config.json", f"{STEM}.safetensors"]),
    ],
)
def test_a_unet_is_found_in_the_first_folder_with_a_config(names: list[str], files: list[str]) -> None:
    assert unet_files(names, ("unet/", "")) == files


def test_declarations_do_not_import_torch() -> None:
    program = "import sys, backbones.loading.published; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
