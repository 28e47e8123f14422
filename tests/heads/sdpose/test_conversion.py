"""Small folders of SDPose, every name as published, become what the heads really load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backbones.errors import CheckpointError
from backbones.rows import Capture, UNetRow
from heads.sdpose.checkpoint import load_published_unet
from heads.sdpose.conversion import check_configs, convert, verify
from heads.sdpose.published import PUBLISHED
from heads.sdpose.published_keys import head_keys
from tests.backbones.small_networks import SD2, backbone_like
from tests.heads.sdpose.original_files import write_original


def convert_small(skeleton: str, folder: Path) -> Path:
    """The converted files of a small folder."""
    source = write_original(skeleton, folder / "original")
    names = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    convert(source, PUBLISHED[0].select_files(names, source), folder / "weights")
    return folder / "weights"


@pytest.mark.parametrize("skeleton", ["body", "wholebody"])
def test_a_published_folder_becomes_a_variant_that_runs(skeleton: str, tmp_path: Path) -> None:
    weights = convert_small(skeleton, tmp_path)
    assert verify(skeleton, weights, any_size=True) == "float32"
    backbone = backbone_like(SD2)
    load_published_unet(backbone, weights, "pose")
    row = UNetRow(torch.zeros(4, 8, 8), 1, torch.zeros(2, 32), Capture(output=True), variant="pose")
    backbone.check(row)
    output = backbone.forward([row])[0].output
    assert output is not None
    assert output.shape == (4, 8, 8)
    assert load_file(weights / "head.safetensors").keys() == head_keys(skeleton).keys()


def test_one_published_head_is_not_taken_for_the_other(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"final_layer\.weight: \(17"):
        verify("wholebody", convert_small("body", tmp_path), any_size=True)


@pytest.mark.parametrize(("text", "message"), [('{"prediction_type": "epsilon"}', "'sample'"), ("{", "no JSON")])
def test_another_scheduler_is_refused(text: str, message: str, tmp_path: Path) -> None:
    source = write_original("body", tmp_path / "original")
    (source / "scheduler/scheduler_config.json").write_text(text)
    files = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    with pytest.raises(CheckpointError, match=message):
        check_configs(source, files, any_size=True)
