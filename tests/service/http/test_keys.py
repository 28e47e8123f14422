"""service/http/keys.py: stored keys, their lookup, and two commands at once."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from service.http.keys import KeyStore, create_key, digest_of, read_keys, revoke_key

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of keys, in a folder that does not exist yet."""
    return tmp_path / "configuration" / "keys.json"


def test_the_file_holds_no_secret_and_only_its_owner_reads_it(path: Path) -> None:
    key, text = create_key(path, "alice", now=NOW)
    kept = path.read_text()
    secret = text.removeprefix(f"diffsight_{key.id}_")
    assert len(secret) >= 43  # 256 bits in base64
    assert secret not in kept
    assert json.loads(kept)["keys"][0]["digest"] == digest_of(key.id, secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_is_left_beside_the_file_but_its_lock(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    revoke_key(path, "alice", now=NOW)
    assert {file.name for file in path.parent.iterdir()} == {"keys.json", "keys.json.lock"}


def test_a_store_finds_a_key_by_its_whole_text_only(path: Path) -> None:
    key, text = create_key(path, "alice", now=NOW)
    store = KeyStore(path)
    assert store.find(text, NOW) == key
    wrong = [
        "",
        "diffsight",
        f"diffsight_{key.id}_",
        text[:-1],
        text + "x",
        text.upper(),
        text.replace(key.id, "0" * 12),  # the id of the stand-in
        text.replace(key.id, "f" * 12),
        text.partition("_")[2],
        digest_of(key.id, text.removeprefix(f"diffsight_{key.id}_")),
        "\udcff\udc00",
    ]
    assert [line for line in wrong if store.find(line, NOW) is not None] == []


def test_a_store_follows_its_file_from_the_first_key_to_the_end_of_the_last(path: Path) -> None:
    store = KeyStore(path)
    assert not store.in_use
    _, first = create_key(path, "alice", now=NOW)
    assert store.in_use
    assert store.find(first, NOW) is not None
    _, second = create_key(path, "bob", now=NOW)
    assert store.find(second, NOW) is not None
    for name in ("alice", "bob"):
        revoke_key(path, name, now=NOW)
    assert store.find(first, NOW) is None
    assert store.find(second, NOW) is None
    assert store.in_use


def test_a_key_ends_when_it_expires(path: Path) -> None:
    _, text = create_key(path, "alice", now=NOW, expires=LATER)
    store = KeyStore(path)
    assert store.find(text, LATER - timedelta(seconds=1)) is not None
    assert store.find(text, LATER) is None


@pytest.mark.parametrize("damage", ["", "{", '{"version": 2, "keys": []}', '{"keys": [{"id": "x"}]}', None])
def test_with_a_damaged_or_missing_file_no_key_is_valid(path: Path, damage: str | None) -> None:
    _, text = create_key(path, "alice", now=NOW)
    store = KeyStore(path)
    assert store.find(text, NOW) is not None
    kept = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
        with pytest.raises(InvalidInput, match="not a file of keys"):
            read_keys(path)
    assert store.find(text, NOW) is None
    assert store.in_use
    path.write_bytes(kept)
    assert store.find(text, NOW) is not None


def test_commands_at_the_same_time_lose_no_key(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: create_key(path, str(name), now=NOW), range(24)))
    assert sorted(key.name for key in read_keys(path)) == sorted(key.name for key, _ in made)


def test_a_name_is_taken_until_its_key_is_revoked(path: Path) -> None:
    create_key(path, "alice", now=NOW)
    with pytest.raises(InvalidInput, match="there is a key named 'alice'"):
        create_key(path, "alice", now=NOW)
    revoke_key(path, "alice", now=NOW)
    create_key(path, "alice", now=NOW)
    assert [key.state(NOW) for key in read_keys(path)] == ["revoked", "valid"]


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
def test_a_name_must_be_printable(path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="printable"):
        create_key(path, name, now=NOW)


def test_a_key_is_revoked_by_id_and_only_once(path: Path) -> None:
    key, _ = create_key(path, "alice", now=NOW)
    revoke_key(path, key.id, now=NOW)
    with pytest.raises(InvalidInput, match="no key has"):
        revoke_key(path, key.id, now=NOW)


def test_a_key_does_not_begin_expired(path: Path) -> None:
    with pytest.raises(InvalidInput, match="is past"):
        create_key(path, "alice", now=NOW, expires=NOW)


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="can not be written"):
        create_key(tmp_path / "file" / "keys.json", "alice", now=NOW)


def test_a_store_says_whether_the_file_changed_without_reading_it(path: Path) -> None:
    store = KeyStore(path)
    assert store.is_current()
    create_key(path, "alice", now=NOW)
    assert not store.is_current()
    store.refresh()
    assert store.is_current()
    path.unlink()
    assert not store.is_current()
