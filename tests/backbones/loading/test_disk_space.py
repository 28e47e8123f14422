"""Too little disk space is an error that names the missing bytes and the next step."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from backbones.loading.disk_space import check_space, free_bytes, gigabytes, is_full, no_space


def test_free_bytes_are_those_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not/there/yet")
    assert 0 < free <= shutil.disk_usage(tmp_path).total


def test_too_little_space_is_refused(tmp_path: Path) -> None:
    check_space(1000, tmp_path, lambda folder: 1000)
    with pytest.raises(InvalidInput, match="2,000 bytes are needed, 1,000 bytes are free") as error:
        check_space(2000, tmp_path, lambda folder: 1000)
    assert "--models-folder" in error.value.hint


def test_the_error_names_the_folder_and_the_reason(tmp_path: Path) -> None:
    assert str(no_space(tmp_path, "it is full")).startswith(f"no space left for the model in {tmp_path}: it is full")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("something else"), False),
    ],
)
def test_a_full_disk_is_recognised(error: Exception, full: bool) -> None:
    assert is_full(error) == full


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999_999, "999,999 bytes"), (1_000_000, "1.0 MB"), (3_438_167_534, "3.44 GB")],
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert gigabytes(size) == text
