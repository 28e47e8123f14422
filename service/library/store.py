"""Objects that clients create over REST and that outlive a restart: one safetensors file for each.

    DATA_FOLDER/KIND/ID.safetensors     tensors, and metadata as JSON in the file's header

An object is created, changed and deleted by one rename or unlink, so it is always complete; readers need no lock. The
same file is the format for exports and imports between servers.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from backbones.errors import DiffsightError, InvalidInput
from backbones.files import NotRegular, locked_folder, open_regular, remove_leftovers, write_file
from service.errors import ChangedMeanwhile, NothingStored, StorageFailed

MEDIA_TYPE = "application/octet-stream"
_SUFFIX = ".safetensors"
_KEY = "diffsight"
_LONGEST_HEADER = 64 << 20

Tensors = Mapping[str, NDArray[Any]]
Stamp = tuple[int, int, int]
"""The version of a file: inode, time of change, size."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One version of an object. about: its metadata, JSON values. names: of its tensors. stamp: of the version."""

    id: str
    about: Mapping[str, Any]
    names: frozenset[str]
    stamp: Stamp

    @property
    def bytes(self) -> int:
        """Size of its file."""
        return self.stamp[2]


class Store:
    """The objects of one kind, such as "classifier", in a folder that several server processes may share.

    most_bytes: bound on all files of the kind together. Every method blocks: do not call it on the event loop.
    """

    def __init__(self, data_folder: Path, kind: str, *, most_bytes: int) -> None:
        self.folder = data_folder / kind
        self.kind = kind
        self.most_bytes = most_bytes

    def list(self) -> list[Stored]:
        """The metadata of all objects, without their tensors, oldest id first.

        Other files are left out. Ids begin with the time of creation.
        """
        things = []
        for file in sorted(self.folder.glob(f"*{_SUFFIX}")):
            with suppress(DiffsightError, OSError):
                things.append(self.look(file.name.removesuffix(_SUFFIX)))
        return things

    def look(self, thing: str) -> Stored:
        """The metadata of the object with this id. Raises NothingStored, and InvalidInput for a damaged file."""
        with self._opened(thing) as (file, stamp):
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, _LONGEST_HEADER))
        try:
            about = _about(header)
        except InvalidInput as error:
            raise self._unreadable(thing) from error
        return Stored(thing, about, frozenset(json.loads(header)) - {"__metadata__"}, stamp)

    def read(self, thing: str) -> tuple[Stored, dict[str, NDArray[Any]]]:
        """The object with this id and its tensors. Raises NothingStored, and InvalidInput for a damaged file."""
        data, stamp = self.file(thing)
        try:
            about, tensors = unpack(data)
        except InvalidInput as error:
            raise self._unreadable(thing) from error
        return Stored(thing, about, frozenset(tensors), stamp), tensors

    def file(self, thing: str) -> tuple[bytes, Stamp]:
        """The object's file. Raises NothingStored if there is none."""
        with self._opened(thing) as (file, stamp):
            return file.read(), stamp

    def add(self, about: Mapping[str, Any], tensors: Tensors) -> Stored:
        """Store a new object under an id of its own. Raises InvalidInput if there is no room for it."""
        thing = f"{int(time.time()):08x}{secrets.token_hex(4)}"
        return self._write(thing, about, tensors, None)

    def replace(self, old: Stored, about: Mapping[str, Any], tensors: Tensors) -> Stored:
        """Put a new version in the place of `old`.

        Raises ChangedMeanwhile if `old` is not the newest version any more, NothingStored if it was deleted, and
        InvalidInput if there is no room.
        """
        return self._write(old.id, about, tensors, old.stamp)

    def delete(self, thing: str) -> None:
        """Delete an object; requests that have read it continue. Raises NothingStored if there is none."""
        try:
            self._path(thing).unlink()
        except FileNotFoundError as error:
            raise self._nothing_stored(thing) from error

    def remove_leftovers(self) -> Sequence[str]:
        """Delete partly written files of killed processes; returns the names."""
        if not self.folder.is_dir():
            return []
        with locked_folder(self.folder):  # no other process writes while the lock is held
            return remove_leftovers(self.folder, older_than_seconds=0)

    def _write(self, thing: str, about: Mapping[str, Any], tensors: Tensors, expected: Stamp | None) -> Stored:
        data = pack(about, tensors)
        path = self._path(thing)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked_folder(self.folder):
                if expected is not None:
                    with self._opened(thing) as (_, stamp):
                        if stamp != expected:
                            raise ChangedMeanwhile(
                                f"the {self.kind} {thing} was changed by another request",
                                hint="read it again, then repeat the change",
                            )
                self._check_room(len(data) - (expected[2] if expected else 0))
                write_file(path, data)
                stat = path.stat()
        except OSError as error:
            raise StorageFailed(
                f"the server can not write to its data folder: {error.strerror}",
                hint="tell the server's operator: free disk space, or set DIFFSIGHT_DATA_FOLDER to a writable folder",
            ) from error
        return Stored(thing, about, frozenset(tensors), (stat.st_ino, stat.st_mtime_ns, stat.st_size))

    def _check_room(self, more: int) -> None:
        taken = sum(file.stat().st_size for file in self.folder.glob(f"*{_SUFFIX}"))
        if taken + more > self.most_bytes:
            raise InvalidInput(
                self.kind,
                f"{taken + more:,} bytes of {self.kind}s; this server keeps {self.most_bytes:,}",
                hint=f"delete a {self.kind} that is no longer used, or raise the server's setting data_bytes",
            )

    @contextmanager
    def _opened(self, thing: str) -> Iterator[tuple[Any, Stamp]]:
        try:
            with open_regular(self._path(thing)) as file:
                stat = os.fstat(file.fileno())
                yield file, (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except (FileNotFoundError, NotRegular) as error:
            raise self._nothing_stored(thing) from error

    def _path(self, thing: str) -> Path:
        # An id is part of a path: only ids that `add` makes are accepted.
        if not re.fullmatch(r"[0-9a-f]{16}", thing):
            raise self._nothing_stored(thing)
        return self.folder / f"{thing}{_SUFFIX}"

    def _unreadable(self, thing: str) -> InvalidInput:
        return InvalidInput(
            self.kind, f"the file of the {self.kind} {thing} is damaged", hint="delete it, and create it again"
        )

    def _nothing_stored(self, thing: str) -> NothingStored:
        return NothingStored(
            f"there is no {self.kind} {thing[:100]!r}", hint=f"GET /v1/{self.kind}s lists all {self.kind}s"
        )


def pack(about: Mapping[str, Any], tensors: Tensors) -> bytes:
    """An object as the bytes of its file."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    data: bytes = save(contiguous, metadata={_KEY: json.dumps(about, allow_nan=False)})
    return data


def unpack(data: bytes, *, field: str = "file") -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Metadata and tensors of an object from the bytes of its file, which may be untrusted.

    field: the file's name in problems.
    Raises InvalidInput for another file.
    """
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        return _about(data[8 : 8 + length]), tensors
    except DiffsightError as error:
        raise InvalidInput(field, error.message, hint=error.hint) from error
    except Exception as error:  # the reader raises many kinds of exceptions for untrusted bytes
        raise InvalidInput(
            field, "the bytes are not a safetensors file, or are cut short", hint="send the file as it was exported"
        ) from error


def _about(header: bytes) -> dict[str, Any]:
    """Our metadata in the header of a safetensors file. Raises InvalidInput if there is none."""
    try:
        about = json.loads(json.loads(header)["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(
            "file", f"the file's metadata has no {_KEY!r}", hint="send the file as it was exported"
        ) from error
    if not isinstance(about, dict):
        raise InvalidInput(
            "file", f"{_KEY!r} in the file's metadata is not an object", hint="send the file as exported"
        )
    return about
