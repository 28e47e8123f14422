"""A name, a folder, a file or a hub id opens a backbone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.source import POCKET, check_device, open_backbone
from tests.backbones.loading.test_ldm import write
from tests.backbones.original_layout import single_file_tensors
from tests.backbones.small_models import UNRECORDED, WEIGHTS


def test_a_folder_opens() -> None:
    backbone = open_backbone(str(WEIGHTS / "sd2v"), dtype=torch.bfloat16, device="cpu")
    assert backbone.description.name == "sd2v"
    assert backbone.description.prediction_type == "v_prediction"
    assert backbone.description.dtype == torch.bfloat16
    assert backbone.description.device == torch.device("cpu")


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_single_file_opens(ending: str, tmp_path: Path) -> None:
    file = write(single_file_tensors(WEIGHTS / "sd1"), tmp_path / f"model.{ending}")
    backbone = open_backbone(str(file), unrecorded=UNRECORDED["sd1"], tokenizer=WEIGHTS / "sd1/tokenizer")
    assert backbone.description.name == "model"


def test_a_folder_goes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(WEIGHTS / "sd1", tmp_path / "owner/name")
    monkeypatch.chdir(tmp_path)
    assert open_backbone("owner/name", offline=True).description.name == "name"


@pytest.mark.skipif(not (POCKET / "model_index.json").is_file(), reason="the embedded backbone is not built yet")
def test_pocket_opens() -> None:
    backbone = open_backbone("pocket")
    assert backbone.description.name == "pocket"
    assert backbone.embed(["a red cube"])[0].shape[0] == backbone.description.max_tokens


@pytest.mark.parametrize("source", ["owner/name", "owner/name@v1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5"])
def test_a_hub_id_is_looked_for_on_the_hub(source: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="not downloaded yet") as error:
        open_backbone(source, cache_folder=tmp_path, offline=True)
    assert "DIFFSIGHT_BACKBONE" in error.value.hint


@pytest.mark.parametrize(
    "source", ["", "nothing", "a/b/c", "/no/such/folder", "no/such.safetensors", "https://example.org/sd", "a b/c"]
)
def test_anything_else_gets_the_four_forms_as_a_hint(source: str) -> None:
    with pytest.raises(ModelNotFound) as error:
        open_backbone(source, offline=True)
    for form in ('"pocket"', "folder", ".safetensors", "owner/name"):
        assert form in error.value.hint


def test_a_folder_of_something_else_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"model_index\.json"):
        open_backbone(str(tmp_path))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InvalidInput, match="device") as error:
        open_backbone(str(WEIGHTS / "sd1"), device=device)
    assert error.value.field == "device"
    assert "cpu" in error.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_what_torch_sees() -> None:
    with pytest.raises(InvalidInput, match="torch sees 0 CUDA devices"):
        check_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_used_on_request() -> None:
    assert open_backbone(str(WEIGHTS / "sd1"), device="cuda").description.device.type == "cuda"
