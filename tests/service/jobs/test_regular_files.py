"""Pipes, devices and folders with names of pictures are refused at once in every kind of source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from backbones.errors import InvalidInput
from service.jobs.records import Item
from service.jobs.regular_files import open_regular, read_document, read_regular
from service.jobs.sources import Reader, Source, list_items

LOCAL = LocalFileSystem()


def test_files_are_read_up_to_one_byte_past_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"12345")
    assert read_regular(LOCAL, str(file)) == b"12345"
    assert read_regular(LOCAL, str(file), 3) == b"1234"
    assert read_document(LOCAL, str(file), 5) == b"12345"
    with pytest.raises(InvalidInput, match="more than 4 bytes"):
        read_document(LOCAL, str(file), 4)


def test_other_file_systems_are_used_as_they_are() -> None:
    memory = MemoryFileSystem()
    memory.pipe("/folder/a.png", b"12345")
    with open_regular(memory, "/folder/a.png") as file:
        assert file.read() == b"12345"


def test_pipes_devices_folders_and_missing_files_are_no_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "folder.png", "link.png", "missing.png"):
        with pytest.raises(OSError, match=r"regular file|No such file"):
            read_regular(LOCAL, str(tmp_path / name), 100)


@pytest.mark.parametrize("kind", ["coco", "urls", "zip", "video"])
def test_a_source_that_is_a_pipe_is_refused(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="no regular file"):
        list(list_items(Source.model_validate({"kind": kind, "address": str(tmp_path / "pipe")})))


def test_an_image_that_is_a_pipe_fails_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    reader = Reader(Source(kind="folder", address=str(tmp_path)), most_bytes=100)
    with pytest.raises(OSError, match="no regular file"):
        reader.read(Item(0, "a.png", str(tmp_path / "a.png"), {}))
