"""Deletes, at the next start, what killed processes left among the uploads of jobs.

An upload that is being received has a lock file, which its process holds until the job is in the database. The lock
ends with the process, so that an upload with a lock file that no process holds, or without one, is unused.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"
_DATABASE = ".database-"


@contextmanager
def receiving_lock(folder: Path, job_id: str) -> Iterator[None]:
    """Protect an upload that is being received from deletion as a leftover. Creates the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f".{job_id}{_LOCK}"
    descriptor = _is_locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def sole_database_since(folder: Path, database: str) -> float:
    """The time, in seconds of the clock, from which only this database has uploads in the folder; infinity if others
    have too. Each database leaves an empty file in the folder at its first use. database: its URL. Creates the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = folder / f"{_DATABASE}{hashlib.sha256(database.encode()).hexdigest()[:16]}"
    with suppress(FileExistsError):
        own.touch(mode=0o600, exist_ok=False)
    if any(path != own for path in folder.glob(f"{_DATABASE}*")):
        return math.inf
    return own.stat().st_mtime


def remove_upload_leftovers(folder: Path, job_exists: Callable[[str], bool], *, since: float = 0.0) -> list[str]:
    """Delete uploads that no process receives: partial ones, and whole ones without a job. Returns their names.

    job_exists: whether the database has a job with this id. since: older whole uploads stay; they may belong to another
    database.
    """
    removed = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError):
                whole = not path.name.startswith(".")
                if path.is_file() and (not whole or path.stat().st_mtime >= since) and _is_left(path, job_exists):
                    path.unlink()
                    removed.append(path.name)
    return removed


def _is_left(path: Path, job_exists: Callable[[str], bool]) -> bool:
    hidden = path.name.startswith(".")
    job_id = path.name.lstrip(".").partition(".")[0]
    if not hidden and job_exists(job_id):
        return False
    try:
        descriptor = os.open(path.with_name(f".{job_id}{_LOCK}"), os.O_RDWR)
    except FileNotFoundError:
        return not job_exists(job_id) if not hidden else path.name.endswith((".part", _LOCK))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False  # it is being received
    finally:
        os.close(descriptor)
    # The job may have been stored just before its lock was released.
    return hidden or not job_exists(job_id)


def _is_locked(path: Path) -> int:
    """The descriptor of a lock file that this process holds, and that was not deleted before it was locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
