"""The models that were added on this machine: one folder each, with an entry that holds the sizes and hashes of its
files.

    MODELS_FOLDER/NAME/model.json    the entry
    MODELS_FOLDER/NAME/weights/...   the files
    MODELS_FOLDER/.incoming/         downloads under way
    MODELS_FOLDER/.NAME.*.part/      a conversion or removal under way, see `backbones/files.py`

A model appears and disappears by one rename, so there is never half of one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.files import remove_folder, write_json
from backbones.user_folders import data_folder

ENTRY, WEIGHTS, INCOMING = "model.json", "weights", ".incoming"
_FORMAT = 1
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a model: its size in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that was added.

    folder: its place. source: hub id or path that it came from. revision: the branch, tag or commit in the command;
    commit: what the hub resolved it to, "" for local copies. dtype: of the U-Net's weights. added: time, ISO 8601, UTC.
    any_size: sizes other than the published ones were allowed. files: path below `weights` -> what it must be. base:
    kind of the backbone that it goes with; "" for a backbone, and in entries of older versions.
    """

    folder: Path
    name: str
    kind: str
    source: str
    revision: str
    commit: str
    dtype: str
    added: str
    licence: str
    any_size: bool
    files: dict[str, StoredFile]
    base: str = ""

    @property
    def weights(self) -> Path:
        """The folder of its files."""
        return self.folder / WEIGHTS

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(file.bytes for file in self.files.values())


def default_folder() -> Path:
    """The default folder of models."""
    return data_folder() / "models"


def check_name(name: str) -> None:
    """Raises InvalidInput for a name that cannot be a folder of the registry, or that is reserved."""
    if not _NAME.fullmatch(name) or name == "pocket":
        raise InvalidInput(
            "name",
            f"{name!r} can not be a model's name",
            hint="letters, digits, dots, dashes and underscores, up to 100; `pocket` is the embedded backbone",
        )


def find_entry(folder: Path, name: str) -> ModelEntry | None:
    """The entry of a name, None if there is none. Raises CheckpointError if its JSON cannot be read."""
    if not _NAME.fullmatch(name) or not (folder / name / ENTRY).is_file():
        return None
    return read_entry(folder / name)


def read_entry(folder: Path) -> ModelEntry:
    """The entry of one model's folder. Raises CheckpointError if its JSON cannot be read."""
    try:
        content: dict[str, Any] = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")
        content.pop("bytes", None)
        files = {path: StoredFile(**expected) for path, expected in content.pop("files").items()}
        return ModelEntry(folder=folder, **{**content, "name": folder.name}, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            folder / ENTRY, f"this entry can not be read ({error})", hint="remove the model and add it again"
        ) from error


def entries(folder: Path) -> list[ModelEntry]:
    """All models of the folder, by name. Raises CheckpointError if one entry cannot be read."""
    return [read_entry(file.parent) for file in sorted(folder.glob(f"*/{ENTRY}")) if _NAME.fullmatch(file.parent.name)]


def write_entry(entry: ModelEntry) -> None:
    """Write the entry into its folder, which still has a temporary name."""
    content = asdict(entry)
    del content["folder"]
    write_json(entry.folder / ENTRY, {"format": _FORMAT, **content, "bytes": entry.bytes})


def describe_files(weights: Path) -> dict[str, StoredFile]:
    """Size and hash of every file below a folder, by its path in it."""
    return {
        file.relative_to(weights).as_posix(): StoredFile(file.stat().st_size, sha256_of(file))
        for file in sorted(weights.rglob("*"))
        if file.is_file()
    }


def wrong_files(entry: ModelEntry) -> list[str]:
    """The problems of a model's files, one line each: missing, changed since it was added, or not part of the model."""
    wrong = []
    for path, expected in entry.files.items():
        file = entry.weights / path
        if not file.is_file():
            wrong.append(f"{path}: missing")
        elif file.stat().st_size != expected.bytes:
            wrong.append(f"{path}: {file.stat().st_size} bytes where {expected.bytes} belong")
        elif sha256_of(file) != expected.sha256:
            wrong.append(f"{path}: other content than when it was added (SHA-256)")
    present = {file.relative_to(entry.weights).as_posix() for file in entry.weights.rglob("*") if file.is_file()}
    return wrong + [f"{path}: not a file of this model" for path in sorted(present - entry.files.keys())]


def remove_entry(folder: Path, name: str) -> None:
    """Delete a model: rename its folder to a hidden name, then delete its files.

    Raises ModelNotFound if there is none.
    """
    check_name(name)
    if not (folder / name / ENTRY).is_file():
        raise ModelNotFound(f"no model {name!r} was added in {folder}", hint="`diffsight models list` shows the names")
    remove_folder(folder / name)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
