"""Room on the disk for models, checked before anything is written, and the error if there is none."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from backbones.errors import InvalidInput

_FULL = {errno.ENOSPC, errno.EDQUOT}

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written below a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(needed: int, folder: Path, free: FreeBytes = free_bytes) -> None:
    """Raises InvalidInput if the disk of `folder` has no room for that many bytes more."""
    if (left := free(folder)) < needed:
        raise no_space(folder, f"{gigabytes(needed)} are needed, {gigabytes(left)} are free")


def no_space(folder: Path, reason: str) -> InvalidInput:
    """The error for a disk that is full, or will be."""
    return InvalidInput(
        "models_folder",
        f"no space left for the model in {folder}: {reason}",
        hint="free some, or choose another disk with --models-folder or DIFFSIGHT_MODELS_FOLDER",
    )


def is_full(error: BaseException) -> bool:
    """Whether an error, or the system's message in it, says that the disk is full."""
    return getattr(error, "errno", None) in _FULL or f"os error {errno.ENOSPC}" in str(error)


def gigabytes(size: int) -> str:
    """A size for people, in units of 1000."""
    if size < 10**6:
        return f"{size:,} bytes"
    return f"{size / 10**9:.2f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"
