"""Read zips with names that are wrongly marked as UTF-8, for which `zipfile` refuses the whole archive."""

from __future__ import annotations

import bisect
import os
import struct
import zipfile
from typing import IO, Any

_END, _ENTRY = b"PK\x05\x06", b"PK\x01\x02"
_LONGEST_COMMENT = 65_535
# The end record of a zip64 and its locator.
_END64_BYTES = 56 + 20
# Signature; flags at 8; lengths of name, extra field and comment at 28; place of the file itself at 42.
_LISTED = struct.Struct("<4s4xH18x3H8xI")
_IS_UTF8 = 0x800


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive in a file. Names that are wrongly marked as UTF-8 are read as code page 437, as unmarked ones are.

    Raises the errors of `zipfile.ZipFile`.
    """
    try:
        return zipfile.ZipFile(file)
    except UnicodeDecodeError:
        return zipfile.ZipFile(_WithoutMarks(file, _wrong_marks(file)))


class _WithoutMarks:
    """A file without some UTF-8 flags. places: of the bytes that hold them, sorted."""

    def __init__(self, file: IO[bytes], places: list[int]) -> None:
        self._file = file
        self._places = places

    def read(self, size: int = -1) -> bytes:
        """As of the file, without the marks."""
        at = self._file.tell()
        data = self._file.read(size)
        first, last = (bisect.bisect_left(self._places, place) for place in (at, at + len(data)))
        if first == last:
            return data
        mended = bytearray(data)
        for place in self._places[first:last]:
            mended[place - at] &= ~(_IS_UTF8 >> 8)
        return bytes(mended)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _wrong_marks(file: IO[bytes]) -> list[int]:
    """The places of bytes that mark names wrongly as UTF-8, in the list of contents and before the files themselves."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST_COMMENT - 22)
    file.seek(start)
    end = start + file.read().rfind(_END)
    file.seek(end + 12)
    length, begins = struct.unpack("<II", file.read(8))
    if length == 0xFFFFFFFF:
        file.seek(end - _END64_BYTES + 40)
        length, begins = struct.unpack("<QQ", file.read(16))
    # Two records of a zip64 may follow the list, so its entries are found by their signature.
    at = max(0, end - length - _END64_BYTES)
    file.seek(at)
    listing = file.read(end - at)
    places, here = [], listing.find(_ENTRY)
    # Bytes before the archive, such as a program that unpacks it, shift all offsets.
    before = at + here - begins
    while 0 <= here <= len(listing) - _LISTED.size:
        mark, flags, name_bytes, extra_bytes, comment_bytes, place = _LISTED.unpack_from(listing, here)
        if mark != _ENTRY:
            break
        name = listing[here + _LISTED.size : here + _LISTED.size + name_bytes]
        if flags & _IS_UTF8 and not _is_utf8(name):
            places += [at + here + 9, before + place + 7]
        here += _LISTED.size + name_bytes + extra_bytes + comment_bytes
    return sorted(places)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
