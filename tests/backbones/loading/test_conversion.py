"""Backbones and weight files come into the registry as safetensors, from every form in which they are published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.errors import CheckpointError
from backbones.loading.added import load_added
from backbones.loading.conversion import convert_backbone, copy_unet, copy_weights, single_file, verify_backbone
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.published import PUBLISHED, SIZES
from tests.backbones.loading.test_ldm import write
from tests.backbones.original_layout import single_file_tensors
from tests.backbones.small_models import WEIGHTS
from tests.backbones.small_networks import entry_of

TENSORS = {"a": torch.ones(2), "b": torch.zeros(1)}


def bins(folder: Path) -> None:
    """The folder's weights as older releases have them."""
    for part, stem, old in (
        ("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("text_encoder", "model", "pytorch_model"),
    ):
        file = folder / part / f"{stem}.safetensors"
        torch.save(load_file(file), folder / part / f"{old}.bin")
        file.unlink()


def shards(folder: Path) -> None:
    """The U-Net in two pieces."""
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    file.unlink()
    halves = [dict(list(tensors.items())[start::2]) for start in (0, 1)]
    names = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / "unet" / name, metadata={"format": "pt"})
    index = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    size = sum(tensor.nbytes for tensor in tensors.values())
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    )


@pytest.mark.parametrize("change", [lambda folder: None, bins, shards], ids=["safetensors", "bin", "shards"])
def test_a_backbone_is_kept_as_safetensors_and_opens(change: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(WEIGHTS / "sd1", tmp_path / "original"))
    change(source)
    names = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    convert_backbone(source, PUBLISHED[0].select_files(names, source), tmp_path / "weights")
    assert verify_backbone("sd15", tmp_path / "weights", {}) == "float32"
    assert not list((tmp_path / "weights").rglob("*.bin*"))
    loaded, own = load_added(entry_of("sd15", tmp_path)), load_diffusers_folder(WEIGHTS / "sd1")
    expected = own.variants[""].unet.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.variants[""].unet.state_dict().items())
    assert loaded.description.name == "sd15"


def test_a_backbone_of_another_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"unet .* where 859,520,964 belong"):
        verify_backbone("sd15", WEIGHTS / "sd1", SIZES["sd15"])


def test_a_single_file_is_stored_under_its_own_name(tmp_path: Path) -> None:
    write(single_file_tensors(WEIGHTS / "sd1"), tmp_path / "v1-5-pruned.ckpt")
    convert_backbone(tmp_path, ["v1-5-pruned.ckpt"], tmp_path / "weights")
    assert [file.name for file in (tmp_path / "weights").iterdir()] == ["v1-5-pruned.safetensors"]
    assert single_file(tmp_path / "weights").name == "v1-5-pruned.safetensors"
    # Its group norms cannot be read off the file: the small network is refused after it was written.
    with pytest.raises(ValueError, match="num_channels"):
        verify_backbone("sd15", tmp_path / "weights", {})


def test_a_folder_without_its_one_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="0 weight files instead of 1"):
        single_file(tmp_path)


def test_pieces_become_one_file(tmp_path: Path) -> None:
    files = [write({key: tensor}, tmp_path / f"{key}.bin") for key, tensor in TENSORS.items()]
    copy_weights(files, tmp_path / "whole.safetensors")
    assert load_file(tmp_path / "whole.safetensors").keys() == TENSORS.keys()


def test_safetensors_stay_as_they_are(tmp_path: Path) -> None:
    file = write(TENSORS, tmp_path / "mine.safetensors")
    copy_unet({"sample_size": 8}, file, tmp_path / "weights")
    written = tmp_path / "weights/unet"
    assert (written / "diffusion_pytorch_model.safetensors").read_bytes() == file.read_bytes()
    assert json.loads((written / "config.json").read_text()) == {"sample_size": 8}


def test_a_damaged_file_is_not_copied(tmp_path: Path) -> None:
    file = write(TENSORS, tmp_path / "mine.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        copy_weights([file], tmp_path / "copy.safetensors")
    assert not (tmp_path / "copy.safetensors").exists()
