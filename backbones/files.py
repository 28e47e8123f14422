"""Atomic writes of files and folders: to a temporary name in the same folder, synced to the disk, then renamed.

The temporary name is hidden: `.NAME.RANDOM.part`. A writer that fails removes it. A process that is killed leaves it,
and `remove_leftovers` deletes it later.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.part")
DAY = 86_400.0
"""Seconds after which a partly written file belongs to no running process."""
_NAME_LENGTH = 40  # 160 bytes at most, so that long names stay within the 255 bytes of a file system


def write_file(path: Path, content: bytes | Iterable[bytes], *, mode: int = 0o666) -> None:
    """Write a file whole: its bytes, or the pieces of it in order. Creates no folder.

    mode: permissions of the file, before the umask.
    Raises OSError if it cannot be written; the old file then stays. Errors of `content` are raised too.
    """
    with replacing(path, mode=mode) as file:
        file.writelines([content] if isinstance(content, bytes) else content)


def write_json(path: Path, content: object, *, mode: int = 0o666) -> None:
    """Write a JSON file whole, indented by two. Raises what `write_file` raises."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_file(path, text.encode(), mode=mode)


class NotRegular(OSError):
    """A pipe, a device, a socket or a folder is where a file should be."""


def open_regular(path: str | Path) -> BinaryIO:
    """The file, open for reading. Raises OSError at once, and NotRegular for a pipe, which would never end."""
    # O_NONBLOCK: a pipe may never get a writer. A check before the opening would be a race.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(f"{str(path)!r} is no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """An open binary file, which replaces `path` when the block ends. It is deleted if the block raises."""
    with replacing_path(path, mode=mode) as beside, beside.open("r+b") as file:
        yield file


@contextmanager
def replacing_path(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """The path of an empty file, for a library that wants a path. It replaces `path` as in `replacing`.

    The path ends in `.part`: name the format to a library that reads it from the ending.
    """
    beside = name_beside(path)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        permissions = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        yield beside
        # safetensors replaces this file by one that only its owner may read.
        if beside.stat().st_mode & 0o777 != permissions:
            beside.chmod(permissions)
        _force_to_disk(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _force_folder_to_disk(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder, which replaces `path` with all its files when the block ends.

    It is deleted if the block raises. The parent folder is created if it is missing. While a folder is replaced,
    neither exists for a moment.
    """
    beside, old = name_beside(path), name_beside(path)
    beside.mkdir(parents=True)
    remove_leftovers(path.parent, older_than_seconds=DAY)  # of a fit, say, that was killed
    try:
        yield beside
        for file in beside.rglob("*"):
            _force_folder_to_disk(file) if file.is_dir() else _force_to_disk(file)
        _force_folder_to_disk(beside)
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            beside.rename(path)
        except OSError:
            with suppress(FileNotFoundError):
                old.rename(path)
            raise
    finally:
        for folder in (beside, old):
            shutil.rmtree(folder, ignore_errors=True)
    _force_folder_to_disk(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder with all its files: rename it to a hidden name first, then delete file by file.

    Raises OSError if it does not exist, or cannot be renamed.
    """
    beside = name_beside(path)
    path.rename(beside)
    shutil.rmtree(beside)


def remove_leftovers(folder: Path, older_than_seconds: float) -> list[str]:
    """Delete what killed writers left directly in a folder; returns the names.

    A younger file may belong to a running writer; use 0 only for a folder that no process writes to.
    """
    removed: list[str] = []
    latest = time.time() - older_than_seconds
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if not _LEFTOVER.fullmatch(path.name) or path.stat().st_mtime > latest:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(path.name)
    return removed


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """A lock on a folder between all threads and processes. The system releases it when a process ends."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def name_beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`, for a file that will replace it."""
    return path.with_name(f".{path.name[:_NAME_LENGTH]}.{secrets.token_hex(6)}.part")


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _force_folder_to_disk(folder: Path) -> None:
    # Some file systems refuse to sync a folder, and some folders cannot be read; the files are synced already.
    with suppress(OSError):
        _force_to_disk(folder)
