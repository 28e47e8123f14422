"""Weight files are read without running code in them; the error names what is wrong with one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.weight_files import digest_of, fill, read_tensors, write_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def save_pickle(file: Path, content: Any) -> Path:
    torch.save(content, file)
    return file


@pytest.mark.parametrize(
    "content", [TENSORS, {"state_dict": TENSORS, "epoch": 3}, {"model": TENSORS}, TENSORS | {"step": 7}]
)
def test_tensors_are_found_where_training_programs_put_them(content: Any, tmp_path: Path) -> None:
    tensors = read_tensors(save_pickle(tmp_path / "a.ckpt", content))
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[key], TENSORS[key]) for key in TENSORS)


def test_files_of_the_time_before_zip_load_too(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert read_tensors(tmp_path / "old.ckpt").keys() == TENSORS.keys()


class Command:
    """An object that runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_with_code_is_refused_and_does_not_run(is_zip: bool, tmp_path: Path) -> None:
    target, file = tmp_path / "ran", tmp_path / "evil.ckpt"
    torch.save({"state_dict": TENSORS, "callbacks": Command(target)}, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"mkdir.*convert this file to safetensors"):
        read_tensors(file)
    assert not target.exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    file.write_bytes(pickle.dumps({"callbacks": Command(tmp_path / "ran")}, protocol=2))
    with pytest.raises(CheckpointError):
        read_tensors(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("kept", [0, 1, 40, 0.5, -1])
def test_a_file_that_is_cut_short_is_called_damaged(ending: str, kept: float, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    if ending == "safetensors":
        save_file(TENSORS, file)
    else:
        torch.save(TENSORS, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match="damaged, incomplete, or no weight file"):
        read_tensors(file)


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_file_of_something_else_is_called_damaged(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_text("<html>404: not found</html>\n" * 20)
    with pytest.raises(CheckpointError, match="no weight file"):
        read_tensors(file)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(3), {}])
def test_a_file_without_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_tensors(save_pickle(tmp_path / "a.ckpt", content))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="does not exist"):
        read_tensors(tmp_path / "a.safetensors")


def test_filling_lists_every_key_that_does_not_fit() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    tensors = {
        "0.weight": torch.zeros(2, 3),
        "0.bias": torch.zeros(3),
        "1.bias": torch.zeros(2),
        "more": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as error:
        fill(network, tensors, "file", torch.float32, unexpected=("known",))
    assert error.value.missing == ("1.weight",)
    assert error.value.unexpected == ("known", "more")
    assert error.value.mis_shaped == ("0.bias: (3,) where (2,) belongs",)


def test_filling_takes_a_copy_in_the_number_type() -> None:
    with torch.device("meta"):
        network = nn.Linear(3, 2)
    source = {key: tensor.clone() for key, tensor in TENSORS.items()}
    fill(network, source, "file", torch.float16)
    source["weight"].zero_()
    assert network.weight.dtype == torch.float16
    assert torch.equal(network.weight.float(), TENSORS["weight"])


def test_the_digest_follows_files_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    first = digest_of(file, "x")
    assert first == digest_of(file, "x")
    assert first != digest_of(file, "y")
    file.write_bytes(b"2")
    assert first != digest_of(file, "x")


def test_a_written_file_has_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T}
    write_tensors(tensors, tmp_path / "weights.safetensors", {"note": "small"})
    assert (tmp_path / "weights.safetensors").stat().st_mode == plain.stat().st_mode
    assert torch.equal(read_tensors(tmp_path / "weights.safetensors")["a"], tensors["a"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["plain", "weights.safetensors"]
