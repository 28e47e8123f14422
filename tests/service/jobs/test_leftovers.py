"""service/jobs/leftovers.py: files of a killed process are deleted, and uploads of a running one are not."""

from __future__ import annotations

import math
import os
from pathlib import Path

from service.jobs.leftovers import receiving_lock, remove_upload_leftovers, sole_database_since


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_uploads_of_no_process_and_no_job_are_deleted(tmp_path: Path) -> None:
    for name in (".a.0123456789ab.part", ".a.lock", "a.zip", "b.zip", "b.txt", "c.mp4", ".b.0123456789ab.part"):
        (tmp_path / name).write_bytes(b"upload")
    removed = remove_upload_leftovers(tmp_path, lambda job: job == "b")
    assert names(tmp_path) == ["b.txt", "b.zip"]
    assert len(removed) == 5
    assert remove_upload_leftovers(tmp_path / "nowhere", lambda job: False) == []


def test_uploads_that_are_being_received_stay(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    with receiving_lock(folder, "a"):
        (folder / ".a.0123456789ab.part").write_bytes(b"half")
        (folder / "a.zip").write_bytes(b"whole, and not in the database yet")
        assert remove_upload_leftovers(folder, lambda job: False) == []
        assert names(folder) == [".a.0123456789ab.part", ".a.lock", "a.zip"]
    assert names(folder) == [".a.0123456789ab.part", "a.zip"]
    remove_upload_leftovers(folder, lambda job: False)
    assert names(folder) == []


def test_other_files_and_folders_stay(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    remove_upload_leftovers(tmp_path, lambda job: False)
    assert names(tmp_path) == [".hidden", "folder"]


def test_whole_uploads_are_left_where_they_may_be_another_databases(tmp_path: Path) -> None:
    for name in (".a.0123456789ab.part", "old.zip"):
        (tmp_path / name).write_bytes(b"upload")
    os.utime(tmp_path / "old.zip", (1.0, 1.0))
    since = sole_database_since(tmp_path, "postgresql://a")
    assert sole_database_since(tmp_path, "postgresql://a") == since
    (tmp_path / "new.zip").write_bytes(b"upload")
    os.utime(tmp_path / "new.zip", (since, since))
    remove_upload_leftovers(tmp_path, lambda job: False, since=since)
    assert [name for name in names(tmp_path) if not name.startswith(".database")] == ["old.zip"]
    assert (
        sole_database_since(tmp_path, "postgresql://b") == sole_database_since(tmp_path, "postgresql://a") == math.inf
    )
