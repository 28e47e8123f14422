"""The files that a job begins with."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from diffsight_client import BadInput, Step
from diffsight_client.job_files import open_files, written_file


def test_files_are_counted_together_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    steps: list[Step] = []
    with open_files([path, b"678"], steps.append) as opened:
        assert [name for name, _ in opened] == ["a.png", "image-2"]
        assert [file.read() for _, file in opened] == [b"12345", b"678"]
    assert [(step.done, step.total) for step in steps] == [(5, 8), (8, 8)]


def test_a_folder_goes_as_a_zip_without_what_is_hidden(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "x.png").write_bytes(b"x")
    (folder / "cats").mkdir()
    (folder / "cats" / "a.png").write_bytes(b"1")
    with open_files(folder, lambda _: None) as opened:
        ((name, file),) = opened
        assert name == "pets.zip"
        assert zipfile.ZipFile(io.BytesIO(file.read())).namelist() == ["cats/a.png"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no files"), open_files(tmp_path, lambda _: None):
        pass


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "results"
    with written_file(path) as file:
        file.write(b"1")
        assert not path.exists()
    assert path.read_bytes() == b"1"
    with pytest.raises(ValueError, match="broken"), written_file(path):
        raise ValueError("broken")
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]
