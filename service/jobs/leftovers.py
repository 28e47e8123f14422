"""What processes that were killed left among the uploads of jobs, deleted at the next start.

An upload that is being received has a lock file, which its process holds until the job is in the database. The lock
ends with the process, so that what stands beside a lock file that nobody holds, or without one, is nobody's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def receiving_lock(folder: Path, job_id: str) -> Iterator[None]:
    """Keep what is received for a job from being deleted as a leftover. Creates the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f".{job_id}{_LOCK}"
    descriptor = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def remove_upload_leftovers(folder: Path, known: Callable[[str], bool]) -> list[str]:
    """Delete uploads that nobody receives and whose job is not `known`, and what was half received; returns names.

    known: whether the database has a job with this id.
    """
    removed = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError):
                if path.is_file() and _is_left(path, known):
                    path.unlink()
                    removed.append(path.name)
    return removed


def _is_left(path: Path, known: Callable[[str], bool]) -> bool:
    hidden = path.name.startswith(".")
    job_id = path.name.lstrip(".").partition(".")[0]
    if not hidden and known(job_id):
        return False
    try:
        descriptor = os.open(path.with_name(f".{job_id}{_LOCK}"), os.O_RDWR)
    except FileNotFoundError:
        return not known(job_id) if not hidden else path.name.endswith((".part", _LOCK))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False  # it is being received
    finally:
        os.close(descriptor)
    # A job may have got into the database just before its lock was given up.
    return hidden or not known(job_id)


def _locked(path: Path) -> int:
    """The descriptor of a lock file that is this process's, and that nobody has deleted before it was."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
