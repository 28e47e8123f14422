"""Memory of models, before and after they are read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from service.models.catalogue import ModelSpec
from service.models.sizes import bytes_by_owner, bytes_of_file, bytes_of_folder, default_budget, estimate_bytes
from service.settings.loader import load_settings
from tests.conftest import WITHOUT_HEADS


def test_headers_give_the_size_in_the_number_type_that_is_served(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(2, dtype=torch.float16)}, tmp_path / "one.safetensors")
    assert bytes_of_file(tmp_path / "one.safetensors", torch.float32) == 4 * 17
    assert bytes_of_file(tmp_path / "one.safetensors", torch.float16) == 2 * 17


def test_files_without_a_header_count_as_they_lie(tmp_path: Path) -> None:
    for name, content in (("a.ckpt", b"x" * 100), ("b.safetensors", b"y" * 50), ("c.safetensors", b"")):
        (tmp_path / name).write_bytes(content)
        assert bytes_of_file(tmp_path / name, torch.float32) == len(content)


def test_weights_that_lie_there_twice_count_once(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    save_file({"a": torch.zeros(8)}, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    save_file({"a": torch.zeros(8).half()}, tmp_path / "unet/diffusion_pytorch_model.fp16.safetensors")
    (tmp_path / "safety_checker").mkdir()
    save_file({"a": torch.zeros(800)}, tmp_path / "safety_checker/model.safetensors")
    assert bytes_of_folder(tmp_path, torch.float32) == 32


def test_a_backbone_is_expected_by_its_folder_and_nothing_of_what_is_not_here() -> None:
    settings = load_settings()
    size = estimate_bytes(ModelSpec("small", "", "small", source=str(WITHOUT_HEADS)), settings)
    assert size == bytes_of_folder(WITHOUT_HEADS, torch.float32) > 10_000
    in_half = ModelSpec("small", "", "small", source=str(WITHOUT_HEADS), dtype="float16")
    assert estimate_bytes(in_half, settings) == bytes_of_folder(WITHOUT_HEADS, torch.float16) < size
    assert estimate_bytes(ModelSpec("pocket", "", "pocket", source="pocket"), settings) > 20_000_000
    assert estimate_bytes(ModelSpec("far", "", "far", source="owner/name"), settings) == 0


def test_memory_that_several_share_counts_for_the_first() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight.data = first.weight.data
    assert bytes_by_owner([("a", first), ("b", second)]) == {"a": 80, "b": 16}


def test_the_budget_leaves_room_for_batches() -> None:
    assert default_budget(torch.device("cpu")) > 100 << 20
