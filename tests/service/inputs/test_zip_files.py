"""A name with a false mark of UTF-8 does not fail its archive."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from service.inputs.archives import read_archive
from service.inputs.zip_files import open_zip
from service.settings.groups import LimitSettings
from tests.service.inputs.test_archives import as_zip64, make_zip

# "e" with an accent, as Latin-1 has it, behind a mark that says UTF-8.
WRONG = make_zip(("a.png", b"1"), ("caf\u00e9.png", b"2"), ("\u00fc.png", b"3")).replace(b"caf\xc3\xa9", b"caf\xe9x")


@pytest.mark.parametrize("data", [WRONG, as_zip64(WRONG), b"#!/bin/sh" + WRONG])
def test_names_that_are_no_utf_8_are_read_all_the_same(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(io.BytesIO(data))
    with open_zip(io.BytesIO(data)) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"1", b"2", b"3"]
        assert archive.namelist()[2] == "\u00fc.png"
    assert len({file.name for file in read_archive(data, LimitSettings())}) == 3


def test_a_file_on_disk_is_left_as_it_is(tmp_path: Any) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(WRONG)
    with path.open("rb") as file, open_zip(file) as archive:
        assert archive.read(archive.namelist()[1]) == b"2"
    assert path.read_bytes() == WRONG
