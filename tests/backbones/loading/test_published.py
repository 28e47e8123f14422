"""Which files make up a model, and what is said where they are not all there."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.published import PUBLISHED, head_keys, needed_files, published, unet_keys

SDPOSE = {
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "decoder/decoder.safetensors",
    "scheduler/scheduler_config.json",
}
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
REST = {"README.md", "vae/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "v1.ckpt"}


def test_only_what_the_model_needs_is_taken() -> None:
    assert set(needed_files("sdpose-body", SDPOSE | REST, "here")) == SDPOSE
    assert set(needed_files("sd15", BACKBONE | REST | {"safety_checker/model.safetensors"}, "here")) == BACKBONE


@pytest.mark.parametrize("folder", ["unet/", "", "unet/unet/"])
def test_diffews_is_found_as_its_loaders_find_it(folder: str) -> None:
    names = {f"{folder}config.json", f"{folder}diffusion_pytorch_model.safetensors"}
    assert set(needed_files("diffews", names, "here")) == names


@pytest.mark.parametrize("name", sorted(SDPOSE))
def test_a_missing_file_of_sdpose_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match=f"not a complete sdpose-body: missing {name}"):
        needed_files("sdpose-body", SDPOSE - {name}, "here")


@pytest.mark.parametrize("name", sorted(BACKBONE - {"tokenizer/merges.txt"}))
def test_a_missing_file_of_a_backbone_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match=f"missing {name}"):
        needed_files("sd15", BACKBONE - {name}, "here")


def test_a_missing_shard_is_a_missing_file() -> None:
    names = BACKBONE - {"unet/diffusion_pytorch_model.safetensors"}
    shards = {f"unet/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    index = {"unet/diffusion_pytorch_model.safetensors.index.json"}
    assert shards | index <= set(needed_files("sd15", names | shards | index, "here"))
    for one in shards | index:
        with pytest.raises(ModelNotFound, match="missing unet/"):
            needed_files("sd15", names | (shards | index) - {one}, "here")


def test_several_weight_files_of_vpd_are_a_question() -> None:
    assert needed_files("vpd-depth", {"README.md", "best.ckpt"}, "here") == ["best.ckpt"]
    with pytest.raises(ModelNotFound, match=r"holds: best\.ckpt, last\.ckpt: name the file itself"):
        needed_files("vpd-depth", {"last.ckpt", "best.ckpt"}, "here")
    with pytest.raises(ModelNotFound, match="holds: none"):
        needed_files("vpd-depth", {"README.md"}, "here")


def test_an_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="sd15, sd21"):
        published("sdxl")


def test_every_variant_has_keys_and_a_base() -> None:
    for kind, model in PUBLISHED.items():
        assert model.licence
        assert model.hub_id or model.where != "the hub"
        if model.base:
            assert PUBLISHED[model.base].system == "backbone"
            assert len(unet_keys(kind)) in (682, 686, 688, 690)
            assert bool(head_keys(kind)) == (kind != "diffews")
