"""A file is the whole old one or the whole new one: after failing writers, for concurrent readers, after a kill."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.files import (
    locked_folder,
    name_beside,
    remove_folder,
    remove_leftovers,
    replacing,
    replacing_folder,
    replacing_path,
    write_file,
    write_json,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with an old content."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_half() -> Iterator[bytes]:
    yield b"half"
    raise ValueError("no more pieces")


@pytest.mark.parametrize("content", [b"new", [b"n", b"ew"], iter([b"new"])])
def test_bytes_and_pieces_replace_the_old_content(content: bytes, file: Path) -> None:
    write_file(file, content)
    assert contents(file.parent) == {"file.bin": b"new"}


def test_json_is_written_as_people_read_it(file: Path) -> None:
    write_json(file, {"name": "Zoë", "count": 1})
    assert file.read_text(encoding="utf-8") == '{\n  "name": "Zoë",\n  "count": 1\n}\n'
    assert json.loads(file.read_bytes()) == {"name": "Zoë", "count": 1}


def test_a_failing_writer_leaves_the_old_file_and_nothing_beside(file: Path) -> None:
    with pytest.raises(ValueError, match="no more pieces"):
        write_file(file, write_half())
    with pytest.raises(ValueError, match="no more pieces"), replacing(file) as opened:
        opened.writelines(write_half())
    with pytest.raises(KeyError), replacing_path(file) as beside:
        save_file({"a": dict[str, torch.Tensor]()["missing"]}, beside)
    with pytest.raises(FileNotFoundError), replacing_path(file) as beside:
        beside.unlink()  # as a library does that tidies up after its own failure
    assert contents(file.parent) == {"file.bin": b"old"}


def test_a_failing_writer_leaves_the_old_folder_and_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_bytes(b"old")
    with pytest.raises(ValueError, match="no more pieces"), replacing_folder(tmp_path / "mine") as beside:
        write_file(beside / "new", write_half())
    with pytest.raises(OSError, match="mine"), replacing_folder(tmp_path / "mine") as beside:
        beside.rename(tmp_path / "lost")  # so that nothing can take the old folder's place
    assert {name: text for name, text in contents(tmp_path).items() if "lost" not in name} == {"mine/file": b"old"}
    assert list(tmp_path.glob(".*")) == []


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "no folder/file", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_readers_never_see_half_a_file(file: Path) -> None:
    wholes = {bytes([letter]) * 100_000 for letter in b"ab"}
    write_file(file, min(wholes))
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(file.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for whole in sorted(wholes):
            write_file(file, (whole[start : start + 1000] for start in range(0, len(whole), 1000)))
    stop.set()
    reader.join()
    assert seen <= wholes


def test_writers_of_one_file_do_not_meet(file: Path) -> None:
    with replacing(file) as first, replacing(file) as second:
        first.write(b"first")
        second.write(b"second")
    assert contents(file.parent) == {"file.bin": b"first"}


@pytest.mark.parametrize("mode", [0o666, 0o600, 0o640])
def test_permissions_are_those_of_a_new_file(mode: int, file: Path) -> None:
    os.close(os.open(file.with_name("plain"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    expected = stat.S_IMODE(file.with_name("plain").stat().st_mode)
    write_file(file, b"new", mode=mode)
    assert stat.S_IMODE(file.stat().st_mode) == expected
    with replacing_path(file, mode=mode) as beside:
        save_file({"a": torch.zeros(1)}, beside)  # by itself for the owner alone
    assert stat.S_IMODE(file.stat().st_mode) == expected


def test_a_library_can_write_to_the_path(file: Path) -> None:
    with replacing_path(file) as beside:
        assert beside.read_bytes() == b""
        save_file({"a": torch.ones(2)}, beside)
    assert torch.equal(load_file(file)["a"], torch.ones(2))
    assert [path.name for path in file.parent.iterdir()] == ["file.bin"]


def test_a_folder_is_replaced_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "models" / "mine"
    for name in ("old", "new"):
        with replacing_folder(target) as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / name).write_bytes(name.encode())
            if name == "new":
                assert contents(target) == {"inner/old": b"old"}
    assert contents(tmp_path) == {"models/mine/inner/new": b"new"}


def test_a_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine/inner").mkdir(parents=True)
    remove_folder(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        remove_folder(tmp_path / "mine")


def test_only_old_leftovers_are_removed(file: Path) -> None:
    killed, killed_folder, running = (name_beside(file) for _ in range(3))
    killed_folder.mkdir()
    (killed_folder / "inner").touch()
    for path in (killed, running, foreign := file.with_name(".somebody.part")):
        path.touch()
    for path in (killed, killed_folder, foreign):
        os.utime(path, (0, 0))
    remove_leftovers(file.parent, older_than_seconds=3600)
    assert set(file.parent.iterdir()) == {file, running, foreign}
    remove_leftovers(file.parent / "not there", older_than_seconds=0)


def test_long_names_have_room_beside(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120)
    write_file(path, b"new")
    assert contents(tmp_path) == {path.name: b"new"}


def test_a_locked_folder_admits_one_thread_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    def enter() -> None:
        with locked_folder(tmp_path):
            order.append("second")

    with locked_folder(tmp_path):
        waiting = threading.Thread(target=enter)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
