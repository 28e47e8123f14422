"""A small folder of DiffewS, every name as published, becomes what the head really loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.errors import CheckpointError
from backbones.rows import Capture, UNetRow
from heads.diffews.checkpoint import load_few_shot
from heads.diffews.conversion import convert, verify
from tests.backbones.small_networks import SD2, backbone_like
from tests.heads.diffews.original_files import write_original

FILES = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors")


def test_a_published_folder_becomes_a_variant_that_runs(tmp_path: Path) -> None:
    convert(write_original(tmp_path / "original"), FILES, tmp_path / "weights")
    assert verify(tmp_path / "weights", any_size=True) == "float32"
    backbone = backbone_like(SD2)
    load_few_shot(backbone, tmp_path / "weights", variant="mine")
    capture = Capture(output=True)
    row = UNetRow(torch.zeros(8, 8, 8), 1, torch.zeros(2, 32), capture, variant="mine", input_convolution="support")
    backbone.check(row)
    output = backbone.forward([row])[0].output
    assert output is not None
    assert output.shape == (4, 8, 8)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    source = write_original(tmp_path / "original")
    file = source / FILES[1]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        convert(source, FILES, tmp_path / "weights")


def test_a_second_convolution_of_another_width_is_refused(tmp_path: Path) -> None:
    source = write_original(tmp_path / "original")
    tensors = load_file(source / FILES[1]) | {"conv_in_ref.weight": torch.zeros(10, 4, 3, 3)}
    save_file(tensors, source / FILES[1])
    convert(source, FILES, tmp_path / "weights")
    with pytest.raises(CheckpointError, match=r"second input convolution .*conv_in_ref\.weight: \(10, 4, 3, 3\)"):
        verify(tmp_path / "weights", any_size=True)
