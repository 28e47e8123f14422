"""Small checkpoints of VPD, every name as published, become what the heads really load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbones.errors import CheckpointError
from backbones.loading.published_keys import vae_encoder_keys
from backbones.loading.variants import load_variant
from heads.vpd.conversion import convert, verify
from heads.vpd.published_keys import head_keys, list_missing_layers
from tests.backbones.small_networks import SD1, backbone_like, stock_unet
from tests.heads.vpd.original_files import original_tensors, write_original


@pytest.mark.parametrize("task", ["depth", "segmentation", "referring"])
def test_a_checkpoint_becomes_a_variant_and_its_other_parts(task: str, tmp_path: Path) -> None:
    file = write_original(task, tmp_path / "model.pth")
    convert(task, file, tmp_path / "weights", any_size=True)
    assert verify(task, tmp_path / "weights", any_size=True) == "float32"
    backbone, missing = backbone_like(SD1), list_missing_layers(task)
    load_variant(backbone, task, tmp_path / "weights/unet/diffusion_pytorch_model.safetensors", from_backbone=missing)
    loaded, own = backbone.variants[task].unet.state_dict(), backbone.variants[""].unet.state_dict()
    for key, tensor in stock_unet(SD1).state_dict().items():
        lent = task == "depth" and key.startswith(("conv_norm_out.", "conv_out."))
        assert torch.equal(loaded[key], own[key] if lent else tensor), key
    original = original_tensors(task)
    head = load_file(tmp_path / "weights/head.safetensors")
    assert head.keys() == head_keys(task).keys()
    assert all(torch.equal(head[key], original[key]) for key in head)
    assert load_file(tmp_path / "weights/vae.safetensors").keys() == vae_encoder_keys().keys()


def test_a_wrong_checkpoint_is_described_by_its_keys(tmp_path: Path) -> None:
    tensors = original_tensors("depth")
    del tensors["encoder.gamma"]
    tensors["encoder.delta"] = torch.zeros(1)
    tensors["last_layer_depth.2.bias"] = torch.zeros(1, 1)
    torch.save({"model": tensors}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError) as error:
        convert("depth", tmp_path / "model.ckpt", tmp_path / "weights", any_size=True)
    assert error.value.missing == ("encoder.gamma",)
    assert error.value.unexpected == ("encoder.delta",)
    assert error.value.mis_shaped == ("last_layer_depth.2.bias: (1, 1) where (1,) belongs",)


def test_networks_that_do_not_hang_together_are_refused_at_any_size(tmp_path: Path) -> None:
    tensors = original_tensors("depth")
    key = "encoder.unet.unet.diffusion_model.middle_block.0.in_layers.2.weight"
    tensors[key] = torch.zeros(40, 39, 3, 3)
    torch.save({"model": tensors}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"mid_block\.resnets\.0\.conv1"):
        convert("depth", tmp_path / "model.ckpt", tmp_path / "weights", any_size=True)


class Payload:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": original_tensors("depth"), "args": Payload()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="could run any code"):
        convert("depth", tmp_path / "model.pth", tmp_path / "weights", any_size=True)
    assert capsys.readouterr().out == ""


def test_verifying_again_finds_a_file_of_another_model(tmp_path: Path) -> None:
    convert("depth", write_original("depth", tmp_path / "model.pth"), tmp_path / "weights", any_size=True)
    with pytest.raises(CheckpointError, match=r"missing.*conv_norm_out"):
        verify("segmentation", tmp_path / "weights", any_size=True)
