"""What differs from the published keys and shapes is listed; at any size the kinds of layers stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.errors import CheckpointError
from backbones.loading.stock_networks import build_unet
from backbones.loading.verification import check_keys, check_network, check_unet, number_type, shapes_of
from tests.backbones.loading.test_ldm import write
from tests.backbones.small_networks import SD1, stock_unet

PUBLISHED = {"conv.weight": (64, 32, 3, 3), "conv.bias": (64,), "final_layer.weight": (17, 64, 1, 1)}
TENSORS = {key: torch.zeros(shape) for key, shape in PUBLISHED.items()}


def test_shapes_and_types_come_without_the_values(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3, dtype=torch.float16), "b": torch.zeros(1, dtype=torch.int64)}
    file = write(tensors, tmp_path / "file.safetensors")
    shapes = shapes_of(file)
    assert {key: (tuple(shape.shape), shape.dtype, shape.device.type) for key, shape in shapes.items()} == {
        "a": ((2, 3), torch.float16, "meta"),
        "b": ((1,), torch.int64, "meta"),
    }
    assert number_type(shapes) == "float16"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        shapes_of(file)


def test_published_keys_and_shapes_pass() -> None:
    check_keys("file", TENSORS, PUBLISHED, any_size=False)
    other = TENSORS | {"conv.bias": torch.zeros(5)}
    check_keys("file", other, PUBLISHED, any_size=False, alternatives={"conv.bias": (5,)})


@pytest.mark.parametrize("any_size", [False, True])
def test_missing_unexpected_and_mis_shaped_keys_are_listed(any_size: bool) -> None:
    tensors = {"conv.weight": torch.zeros(64, 32, 1, 1), "conv.bias": torch.zeros(64), "more": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="not the keys and shapes of the published model") as error:
        check_keys("file", tensors, PUBLISHED, any_size=any_size)
    assert error.value.missing == ("final_layer.weight",)
    assert error.value.unexpected == ("more",)
    assert error.value.mis_shaped == ("conv.weight: (64, 32, 1, 1) where (64, 32, 3, 3) belongs",)


def test_at_any_size_widths_may_differ_and_fixed_axes_may_not() -> None:
    half = {
        "conv.weight": torch.zeros(32, 16, 3, 3),
        "conv.bias": torch.zeros(32),
        "final_layer.weight": torch.zeros(17, 32, 1, 1),
    }
    check_keys("file", half, PUBLISHED, any_size=True, fixed=("final_layer.",))
    with pytest.raises(CheckpointError, match="--any-size"):
        check_keys("file", half, PUBLISHED, any_size=False)
    with pytest.raises(CheckpointError, match=r"final_layer\.weight: \(133"):
        check_keys(
            "file", half | {"final_layer.weight": torch.zeros(133, 32, 1, 1)}, PUBLISHED, any_size=True,
            fixed=("final_layer.",),
        )  # fmt: skip


def test_a_network_may_lack_what_is_named() -> None:
    tensors = {key: tensor for key, tensor in stock_unet(SD1).state_dict().items() if not key.startswith("conv_out.")}
    check_network(build_unet(SD1), tensors, "file", may_lack=("conv_out.",))
    with pytest.raises(CheckpointError) as error:
        check_network(build_unet(SD1), tensors, "file")
    assert error.value.missing == ("conv_out.bias", "conv_out.weight")


def test_a_unet_must_be_the_one_that_its_config_describes() -> None:
    tensors, file = stock_unet(SD1).state_dict(), Path("unet/config.json")
    check_unet(SD1 | {"_class_name": "UNet2DConditionModel"}, tensors, file)
    with pytest.raises(CheckpointError, match=r"conv_in\.weight"):
        check_unet(SD1 | {"in_channels": 9}, tensors, file)
    with pytest.raises(CheckpointError, match=r"config\.json: it describes no U-Net"):
        check_unet({"down_block_types": 3}, tensors, file)
