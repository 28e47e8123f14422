"""Objects of callers: whole or absent, never overwritten by a concurrent change, read safely from hostile bytes."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from backbones.errors import InvalidInput
from service.errors import ChangedMeanwhile, NothingStored, StorageFailed
from service.library.store import Store, pack, unpack

TENSORS: dict[str, NDArray[Any]] = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "labels": np.array([0, 1], np.int64),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", "thing", most_bytes=10_000)


def test_another_store_on_the_same_folder_reads_what_was_added(store: Store, tmp_path: Path) -> None:
    added = store.add({"name": "Straße", "numbers": [1, 2]}, TENSORS)
    entry_again, tensors = Store(tmp_path / "data", "thing", most_bytes=0).read(added.id)
    assert (entry_again.id, entry_again.about, entry_again.stamp) == (added.id, added.about, added.stamp)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor)
    assert [(entry.id, entry.about) for entry in store.list()] == [(added.id, added.about)]


def test_the_exported_file_is_what_unpacked_reads(store: Store) -> None:
    added = store.add({"name": "a"}, TENSORS)
    data, stamp = store.file(added.id)
    about, tensors = unpack(data)
    assert about == {"name": "a"}
    assert tensors.keys() == TENSORS.keys()
    assert stamp == added.stamp
    assert len(data) == added.bytes


def test_a_thing_that_was_deleted_is_gone_for_everything(store: Store) -> None:
    added = store.add({}, TENSORS)
    store.delete(added.id)
    for method in (store.look, store.read, store.file, store.delete):
        with pytest.raises(NothingStored, match=added.id):
            method(added.id)
    with pytest.raises(NothingStored):
        store.replace(added, {}, TENSORS)
    assert store.list() == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 15, "0" * 17, "G" * 16, "0" * 16 + "\n", ".lock"])
def test_an_id_that_was_never_created_is_unknown(store: Store, name: str) -> None:
    with pytest.raises(NothingStored):
        store.look(name)


def test_of_two_changes_that_began_alike_the_second_is_reported(store: Store) -> None:
    added = store.add({"round": 0}, TENSORS)
    changed = store.replace(added, {"round": 1}, TENSORS)
    with pytest.raises(ChangedMeanwhile):
        store.replace(added, {"round": 2}, TENSORS)
    assert store.look(added.id).about == {"round": 1}
    store.replace(changed, {"round": 2}, TENSORS)


def test_many_changes_at_once_leave_one_winner_each_time(store: Store) -> None:
    added = store.add({"round": 0}, TENSORS)
    outcomes = []

    def change(number: int) -> None:
        try:
            store.replace(added, {"round": number}, TENSORS)
            outcomes.append(number)
        except ChangedMeanwhile:
            pass

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert store.look(added.id).about == {"round": outcomes[0]}


def test_more_bytes_than_allowed_are_refused_and_leave_nothing_behind(store: Store) -> None:
    store.add({}, {"big": np.zeros(2000, np.float32)})
    with pytest.raises(InvalidInput, match="10,000"):
        store.add({}, {"big": np.zeros(2000, np.float32)})
    assert len(store.list()) == 1
    assert {file.suffix for file in store.folder.iterdir()} == {".safetensors", ""}


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="DIFFSIGHT_DATA_FOLDER"):
        Store(tmp_path / "file", "thing", most_bytes=1000).add({}, {})


def test_foreign_files_in_the_folder_are_passed_over(store: Store) -> None:
    added = store.add({}, TENSORS)
    (store.folder / ("f" * 16 + ".safetensors")).write_bytes(b"no tensors")
    (store.folder / "notes.safetensors").write_bytes(save(TENSORS))
    os.mkfifo(store.folder / ("e" * 16 + ".safetensors"))  # no process ever writes to it
    (store.folder / ("d" * 16 + ".safetensors")).mkdir()
    (store.folder / ("c" * 16 + ".safetensors")).symlink_to("nowhere")
    for foreign in "edc":
        with pytest.raises(NothingStored):
            store.read(foreign * 16)
    assert [entry.id for entry in store.list()] == [added.id]


GOOD = pack({"name": "a"}, TENSORS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        GOOD[:-1],
        GOOD[:40],
        GOOD + b"\0",
        struct.pack("<Q", 1 << 62) + GOOD[8:],
        save(TENSORS),
        save(TENSORS, metadata={"diffsight": "[1, 2]"}),
        save(TENSORS, metadata={"diffsight": "{"}),
        save(TENSORS, metadata={"diffsight": "[" * 100_000}),
    ],
    ids=["empty", "zip", "short", "header", "long", "giant header", "no words", "list", "no JSON", "deep JSON"],
)
def test_bytes_that_are_no_such_file_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        unpack(data, field="classifier")
    assert refused.value.field == "classifier"
    assert refused.value.hint


def test_the_file_of_a_killed_writer_is_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path, "concept", most_bytes=1 << 20)
    assert store.remove_leftovers() == []
    kept = store.add({"name": "cup"}, {})
    left = store.folder / ".0123456789abcdef.safetensors.0123456789ab.part"
    left.write_bytes(b"half")
    assert store.remove_leftovers() == [left.name]
    assert [entry.id for entry in store.list()] == [kept.id]
