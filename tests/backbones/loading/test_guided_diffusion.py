"""Files of guided-diffusion networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading.guided_diffusion import (
    PUBLISHED_256,
    PUBLISHED_256_CONDITIONAL,
    PUBLISHED_512,
    GuidedDiffusionFlags,
    build_network,
    load_guided_diffusion,
    stock_state,
)

ORIGINAL = Path(__file__).parents[2] / "conformance/fixtures/feature_pooling/unet_half_first_level/weights.safetensors"
FLAGS = GuidedDiffusionFlags(
    image_size=32,
    num_channels=64,
    channel_mult=(0.5, 0.5),
    num_res_blocks=1,
    attention_factors=(2,),
    num_head_channels=32,
    num_classes=5,
)


@pytest.fixture(scope="module")
def original_tensors() -> dict[str, Tensor]:
    return load_file(ORIGINAL)


@pytest.mark.parametrize(
    ("flags", "count"),
    [(PUBLISHED_256, 552_814_086), (PUBLISHED_256_CONDITIONAL, 553_838_086), (PUBLISHED_512, 558_997_638)],
)
def test_published_networks_have_the_published_sizes(flags: GuidedDiffusionFlags, count: int) -> None:
    network = build_network(flags, torch.device("meta"))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_both_kinds_of_file_give_the_same_network(
    tmp_path: Path, original_tensors: dict[str, Tensor], suffix: str
) -> None:
    file = tmp_path / f"network{suffix}"
    torch.save(original_tensors, file) if suffix == ".pt" else save_file(original_tensors, file)
    backbone = load_guided_diffusion(file, FLAGS)
    assert backbone.name == "network"
    assert backbone.description.dtype == torch.float32
    state = backbone.unet.state_dict()
    for key, tensor in stock_state(original_tensors, FLAGS).items():
        assert torch.equal(state[key], tensor.float())


def test_the_revision_changes_with_weights_and_flags(tmp_path: Path, original_tensors: dict[str, Tensor]) -> None:
    save_file(original_tensors, tmp_path / "one.safetensors")
    changed = {**original_tensors, "out.2.bias": original_tensors["out.2.bias"] + 1}
    save_file(changed, tmp_path / "two.safetensors")
    revisions = {
        load_guided_diffusion(tmp_path / name, flags).revision
        for name in ("one.safetensors", "two.safetensors")
        for flags in (FLAGS, replace(FLAGS, num_head_channels=16))
    }
    assert len(revisions) == 4


def test_wrong_keys_and_shapes_are_listed(tmp_path: Path, original_tensors: dict[str, Tensor]) -> None:
    changed = {**original_tensors, "extra.weight": torch.zeros(1), "out.2.bias": torch.zeros(3)}
    del changed["time_embed.0.bias"]
    save_file(changed, tmp_path / "changed.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_guided_diffusion(tmp_path / "changed.safetensors", FLAGS)
    assert caught.value.missing == ("time_embedding.linear_1.bias",)
    assert caught.value.unexpected == ("extra.weight",)
    assert caught.value.mis_shaped == ("conv_out.bias: (3,) where (6,) belongs",)


def test_flags_of_another_network_are_noticed(original_tensors: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(original_tensors, tmp_path / "network.safetensors")
    for flags in (PUBLISHED_256, replace(FLAGS, num_classes=0), replace(FLAGS, resblock_updown=False)):
        with pytest.raises(CheckpointError):
            load_guided_diffusion(tmp_path / "network.safetensors", flags)


def test_attention_rows_are_regrouped_by_the_order_of_the_flags() -> None:
    rows = torch.arange(3 * 64.0)[:, None, None].expand(-1, 64, 1)
    state = {"middle_block.1.qkv.weight": rows}
    legacy = stock_state(state, replace(FLAGS, num_head_channels=32))
    modern = stock_state(state, replace(FLAGS, num_head_channels=32, use_new_attention_order=True))
    key = "mid_block.attentions.0.to_k.weight"
    assert legacy[key][:, 0].tolist() == [*range(32, 64), *range(128, 160)]
    assert modern[key][:, 0].tolist() == list(range(64, 128))


def test_networks_that_cannot_be_built_are_refused() -> None:
    for flags in (replace(FLAGS, num_head_channels=-1), replace(FLAGS, num_channels=40)):
        with pytest.raises(InvalidInput):
            build_network(flags, torch.device("meta"))


def test_absent_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_guided_diffusion(tmp_path / "absent.pt")
    for name in ("damaged.pt", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(CheckpointError):
            load_guided_diffusion(tmp_path / name)
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError):
        load_guided_diffusion(tmp_path / "list.pt")
