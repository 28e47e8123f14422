"""Paths of any bytes as texts and back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.jobs.addresses import decode_address, encode_address, is_regular, open_address, open_file

pytestmark = pytest.mark.field


@pytest.mark.parametrize("name", [b"a.png", b"caf\xe9.png", b"a::b.png", "é\u202f.png".encode()])
def test_an_address_is_text_and_leads_back(tmp_path: Path, name: bytes) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Path(path).write_bytes(name)
    address = encode_address(path)
    address.encode()
    assert decode_address(address) == path
    with open_file(decode_address(address)) as file:
        assert file.read() == name


def test_pipes_and_links_to_nowhere_are_no_regular_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a.png")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    fs, root = open_address(str(tmp_path))
    regular = {path.rpartition("/")[2] for path, about in fs.find(root, detail=True).items() if is_regular(path, about)}
    assert regular == {"a.png", "link"}
