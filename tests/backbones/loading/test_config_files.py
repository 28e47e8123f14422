"""Damaged configurations are told as such, with the name of the file or folder, whatever a library makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backbones.errors import CheckpointError, DiffsightError
from backbones.loading.config_files import blaming, read_json
from backbones.loading.diffusers_folder import load_diffusers_folder
from tests.backbones.small_models import WEIGHTS

ODD = json.dumps(
    {
        "down_block_types": ["Nope"],
        "block_out_channels": "wide",
        "hidden_size": -1,
        "vocab": 3,
        "num_train_timesteps": "many",
        "prediction_type": 3,
    }
)
FILES = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", ["hello {", "null", '"a"', ODD], ids=["text", "null", "string", "odd"])
def test_a_damaged_file_of_a_folder_is_named(tmp_path: Path, file: str, content: str) -> None:
    folder = shutil.copytree(WEIGHTS / "sd1", tmp_path / "sd1")
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError) as caught:
        load_diffusers_folder(folder)
    assert str(folder / Path(file).parent) in str(caught.value)
    assert caught.value.hint


def test_json_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "object.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "half.json").write_text('{"a"')
    assert read_json(tmp_path / "object.json") == {"a": 1}
    for name in ("half.json", "missing.json", "list.json"):
        with pytest.raises(CheckpointError, match="no JSON"):
            read_json(tmp_path / name)


def test_own_errors_and_a_lack_of_memory_are_raised_as_they_are() -> None:
    for error in (DiffsightError("own"), MemoryError()):
        with pytest.raises(type(error)) as caught, blaming("file"):
            raise error
        assert caught.value is error
    with pytest.raises(CheckpointError, match=r"file: no network \(odd\)"), blaming("file", "no network"):
        raise AttributeError("odd\nand more")
