"""Loaded weights are in the process's own memory: no file changes them, and loading uses no wider number type."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.private_memory import MappedFiles, private_copy
from tests.backbones.small_models import WEIGHTS


def overwrite_values(file: Path) -> None:
    """Overwrite all tensors of a safetensors file in place: same header, same inode."""
    with file.open("r+b") as opened:
        header = 8 + int.from_bytes(opened.read(8), "little")
        opened.seek(header)
        opened.write(os.urandom(file.stat().st_size - header))


def copy_in(dtype: torch.dtype, folder: Path) -> Path:
    """The small diffusers folder with its weights in a number type."""
    shutil.copytree(WEIGHTS / "sd1", folder)
    for file in folder.rglob("*.safetensors"):
        tensors = {key: value.to(dtype) if value.is_floating_point() else value.clone()
                   for key, value in load_file(file).items()}  # fmt: skip
        save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_folder_that_is_overwritten_in_place_changes_no_network(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = copy_in(dtype, tmp_path / "model")
    model = load_diffusers_folder(folder, dtype=dtype)
    networks = (model.variants[""].unet, model.vae, model.text_encoder)
    before = [tensor.clone() for network in networks for tensor in network.state_dict().values()]
    for file in folder.rglob("*.safetensors"):
        overwrite_values(file)
    after = [tensor for network in networks for tensor in network.state_dict().values()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(tensor.data_ptr() % 16 == 0 for network in networks for tensor in network.parameters())


class NumberTypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the number types of all floating tensors with values that operations give."""

    def __init__(self, least: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.least = least
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [tensor for tensor in (result if isinstance(result, (list, tuple)) else [result])
                   if isinstance(tensor, torch.Tensor)]  # fmt: skip
        self.seen |= {tensor.dtype for tensor in tensors
                      if tensor.is_floating_point() and tensor.numel() >= self.least and tensor.device.type != "meta"
                      }  # fmt: skip
        return result


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_never_goes_through_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = copy_in(torch.float16, tmp_path / "model")
    with NumberTypes(least=2000) as types:  # the schedule has 1,000 values
        model = load_diffusers_folder(folder, dtype=dtype)
    assert model.description.dtype == dtype
    assert types.seen <= {torch.float16, dtype}


def test_mapped_tensors_are_told_from_others_and_their_copies_outlive_the_file(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(4, 3)}, tmp_path / "a.safetensors")
    mapped, own = load_file(tmp_path / "a.safetensors")["weight"], torch.ones(4, 3)
    files = MappedFiles()
    assert (files.hold(mapped), files.hold(own)) == (True, False)
    copy = private_copy(mapped, mapped.dtype, files)
    overwrite_values(tmp_path / "a.safetensors")
    assert copy.eq(1).all()


def test_tensors_are_copied_if_the_system_does_not_list_its_mapped_files(tmp_path: Path) -> None:
    files = MappedFiles(tmp_path / "nowhere")
    tensor = torch.arange(6.0).view(2, 3).T
    assert files.hold(tensor)
    copy = private_copy(tensor, torch.float16, files)
    assert (copy.is_contiguous(), copy.dtype, copy.tolist()) == (True, torch.float16, tensor.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_of_a_unet_are_read_in_the_layout_that_they_keep(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of layout after reading would need the memory of both, because holes in the heap stay."""
    layouts: list[bool] = []

    def look(unet: torch.nn.Module) -> None:
        kernels = [weight for weight in unet.parameters() if weight.ndim == 4]
        layouts.append(all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels))

    monkeypatch.setattr("backbones.stable_diffusion.use_fast_layout", look)
    load_diffusers_folder(WEIGHTS / "sd1", dtype=dtype)
    assert layouts == [dtype == torch.float32]
