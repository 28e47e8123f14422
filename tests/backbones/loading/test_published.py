"""Which files make up a backbone, and the error if some are missing."""

from __future__ import annotations

import pytest

from backbones.errors import ModelNotFound
from backbones.loading.published import PUBLISHED, SIZES

BACKBONE = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    *(f"{part}/config.json" for part in ("unet", "vae", "text_encoder")),
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
}
REST = {"README.md", "vae/diffusion_pytorch_model.bin", "safety_checker/model.safetensors", "v1.ckpt"}
SD15, _ = PUBLISHED


def test_only_what_the_model_needs_is_taken() -> None:
    assert set(SD15.select_files(BACKBONE | REST, "here")) == BACKBONE


def test_a_single_file_is_a_whole_backbone() -> None:
    assert SD15.select_files({"v1-5.ckpt", "README.md"}, "here") == ["v1-5.ckpt"]
    with pytest.raises(ModelNotFound, match=r"missing model_index\.json"):
        SD15.select_files({"v1-5.ckpt", "v1-5-ema.safetensors"}, "here")


@pytest.mark.parametrize("name", sorted(BACKBONE - {"tokenizer/merges.txt"}))
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match=f"not a complete sd15: missing {name}"):
        SD15.select_files(BACKBONE - {name}, "here")


def test_a_missing_shard_is_a_missing_file() -> None:
    names = BACKBONE - {"unet/diffusion_pytorch_model.safetensors"}
    shards = {f"unet/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    index = {"unet/diffusion_pytorch_model.safetensors.index.json"}
    assert shards | index <= set(SD15.select_files(names | shards | index, "here"))
    for name in shards | index:
        with pytest.raises(ModelNotFound, match="missing unet/"):
            SD15.select_files(names | (shards | index) - {name}, "here")


def test_every_backbone_has_its_sizes() -> None:
    assert [model.kind for model in PUBLISHED] == list(SIZES)
