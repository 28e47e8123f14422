"""A diffusers folder by its headers: what a load would find wrong, without reading a value."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.header_check import check_folder
from backbones.loading.source import open_backbone
from tests.backbones.small_models import WEIGHTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS / "sd1", tmp_path / "sd1"))


def test_values_are_counted_as_a_load_counts_them(folder: Path) -> None:
    model = open_backbone(str(folder))
    parts = {"unet": model.variants[""].unet, "vae": model.vae, "text_encoder": model.text_encoder}
    counted = {name: sum(value.numel() for value in network.parameters()) for name, network in parts.items()}
    assert check_folder(folder) == counted


def test_old_names_of_the_attention_and_of_positions_are_known(folder: Path) -> None:
    expected = check_folder(folder)
    vae = next((folder / "vae").glob("*.safetensors"))
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(vae)
    for new, name in old.items():
        tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
    save_file(tensors, vae)
    text = next((folder / "text_encoder").glob("*.safetensors"))
    save_file(load_file(text) | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, text)
    assert check_folder(folder) == expected


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_key_too_few_one_too_many_and_another_shape_are_named(folder: Path, part: str) -> None:
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    lost, changed = sorted(key for key in tensors if key.endswith(".weight"))[:2]
    del tensors[lost]
    save_file(tensors | {changed: torch.zeros(3), "other": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError) as raised:
        check_folder(folder)
    assert raised.value.unexpected == ("other",)
    assert lost.removeprefix("text_model.") in raised.value.missing[0]
    assert len(raised.value.mis_shaped) == 1


def test_a_config_of_another_network_is_one_line(folder: Path) -> None:
    file = folder / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"down_block_types": ["NoBlock"] * 4}))
    with pytest.raises(CheckpointError, match="it describes no network"):
        check_folder(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ModelNotFound, match=r"vocab\.json"):
        check_folder(folder)
