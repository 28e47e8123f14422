"""Entries are read back as written, and report changes of their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading.registry import (
    ModelEntry,
    check_name,
    default_folder,
    describe_files,
    entries,
    find_entry,
    remove_entry,
    write_entry,
    wrong_files,
)


@pytest.fixture
def entry(tmp_path: Path) -> ModelEntry:
    weights = tmp_path / "mine" / "weights"
    (weights / "unet").mkdir(parents=True)
    (weights / "unet/one.safetensors").write_bytes(b"one")
    (weights / "two.json").write_text("{}")
    written = ModelEntry(
        folder=tmp_path / "mine",
        name="mine",
        kind="some-head",
        source="owner/name",
        revision="main",
        commit="0123",
        dtype="float16",
        added="2026-01-02T03:04:05+00:00",
        licence="a licence",
        any_size=False,
        files=describe_files(weights),
        base="sd15",
    )
    write_entry(written)
    return written


def test_an_entry_comes_back_as_it_was_written(entry: ModelEntry, tmp_path: Path) -> None:
    assert find_entry(tmp_path, "mine") == entry
    assert entries(tmp_path) == [entry]
    assert entry.bytes == 5
    assert wrong_files(entry) == []


def test_an_entry_of_an_older_version_has_no_base(entry: ModelEntry, tmp_path: Path) -> None:
    content = json.loads((entry.folder / "model.json").read_text())
    del content["base"]
    (entry.folder / "model.json").write_text(json.dumps(content))
    assert find_entry(tmp_path, "mine") == replace(entry, base="")


@pytest.mark.parametrize("name", ["other", "", "../mine", "mine/", "/mine"])
def test_other_names_are_not_there(entry: ModelEntry, name: str, tmp_path: Path) -> None:
    assert find_entry(tmp_path, name) is None


def test_changed_missing_and_extra_files_are_reported(entry: ModelEntry) -> None:
    (entry.weights / "unet/one.safetensors").write_bytes(b"eno")
    (entry.weights / "three").write_text("3")
    assert wrong_files(entry) == [
        "unet/one.safetensors: other content than when it was added (SHA-256)",
        "three: not a file of this model",
    ]
    (entry.weights / "unet/one.safetensors").write_bytes(b"on")
    (entry.weights / "two.json").unlink()
    (entry.weights / "three").unlink()
    assert wrong_files(entry) == ["two.json: missing", "unet/one.safetensors: 2 bytes where 3 belong"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "files": {}}', '{"format": 1, "files": {"a": 1}}'])
def test_an_entry_that_cannot_be_read_says_so(entry: ModelEntry, text: str, tmp_path: Path) -> None:
    (entry.folder / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match="remove the model and add it again"):
        entries(tmp_path)


def test_a_removed_model_is_gone(entry: ModelEntry, tmp_path: Path) -> None:
    remove_entry(tmp_path, "mine")
    assert entries(tmp_path) == []
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    with pytest.raises(ModelNotFound):
        remove_entry(tmp_path, "mine")


def test_models_are_kept_in_the_users_folder_for_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "diffsight/models"


@pytest.mark.parametrize("name", ["pocket", "", ".hidden", "a/b", "..", "a b", "x" * 101])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


def test_a_folder_decides_its_models_name(entry: ModelEntry, tmp_path: Path) -> None:
    entry.folder.rename(tmp_path / "other")
    assert entries(tmp_path) == [replace(entry, folder=tmp_path / "other", name="other")]
