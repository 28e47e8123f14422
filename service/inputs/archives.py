"""Zips that a stranger sent: bounded before and while they are read, and never unpacked to disk."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from backbones.errors import InvalidInput
from service.settings.groups import LimitSettings

MEDIA_TYPES = ("application/zip", "application/x-zip-compressed")

_END = b"PK\x05\x06"
_END64_LOCATOR = b"PK\x06\x07"
_LONGEST_COMMENT = 65_535
# The list of contents takes 46 bytes and the name of each entry; nobody's names are longer than this on average.
_LISTING_BYTES = 1024
_CHUNK = 1024 * 1024
_FIELD = "archive"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of an archive. name: its path inside, with `/` between folders."""

    name: str
    data: bytes


def is_archive(data: bytes) -> bool:
    """Whether the bytes begin as a zip does."""
    return data.startswith((b"PK\x03\x04", _END))


def read_archive(data: bytes, limits: LimitSettings) -> list[ArchivedFile]:
    """The files of a zip by name, without folders and without what macOS and Windows leave beside pictures.

    Raises InvalidInput for an empty, damaged or encrypted archive, a path that leads out of it, a link, a name that
    stands twice, and more entries, bytes or growth than the settings allow.
    """
    with _opened(BytesIO(data), limits) as (archive, entries):
        return list(_read(archive, entries, limits))


def archive_names(file: BinaryIO, limits: LimitSettings) -> list[str]:
    """The names of the files that `read_archive` would read, which are not read. Raises InvalidInput likewise."""
    with _opened(file, limits) as (_, entries):
        return [entry.filename for entry in entries]


@contextmanager
def _opened(file: BinaryIO, limits: LimitSettings) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive, whose list of contents is within bounds, and its files by name."""
    size = file.seek(0, 2)
    _check_listing(file, size, limits)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, size, limits)
            files = [entry for entry in entries if not entry.is_dir() and not _is_litter(entry.filename)]
            if not files:
                raise InvalidInput(_FIELD, "the archive holds no file", hint="zip image files")
            yield archive, sorted(files, key=lambda entry: entry.filename)
    except InvalidInput:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        RuntimeError,  # NotImplementedError is one
        ValueError,  # UnicodeDecodeError is one
    ) as error:
        raise _damaged() from error


def _check_listing(file: BinaryIO, size: int, limits: LimitSettings) -> None:
    """Raises InvalidInput before a list of contents is read that would fill the memory by itself."""
    file.seek(max(0, size - 42 - _LONGEST_COMMENT))
    data = file.read()
    # Found as zipfile finds it: at the very end, else the last one that a comment may follow.
    at = len(data) - 22
    if at < 0 or not (data.startswith(_END, at) and data.endswith(b"\0\0")):
        at = data.rfind(_END, max(0, len(data) - 22 - _LONGEST_COMMENT))
    if at < 0 or len(data) < at + 22:
        raise _damaged()
    if at >= 20 and data.startswith(_END64_LOCATOR, at - 20):
        raise InvalidInput(
            _FIELD, "the archive is a zip64, made for more than 65,535 files", hint="send a plain zip, or several"
        )
    entries, listing_bytes = struct.unpack_from("<HI", data, at + 10)
    if entries > limits.max_archive_entries or listing_bytes > limits.max_archive_entries * _LISTING_BYTES:
        raise _too_many(limits)


def _check_entries(entries: list[zipfile.ZipInfo], archive_bytes: int, limits: LimitSettings) -> None:
    """Raises InvalidInput for what the list of contents already tells."""
    if len(entries) > limits.max_archive_entries:
        raise _too_many(limits)
    names: set[str] = set()
    for entry in entries:
        name = entry.filename
        if not name:
            raise _damaged()
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or not name.isprintable():
            raise InvalidInput(_FIELD, f"the path {name[:200]!r} leads out of the archive", hint="zip a folder")
        if name in names:
            raise InvalidInput(_FIELD, f"{name[:200]!r} stands in the archive twice", hint="give every file its name")
        names.add(name)
        if entry.flag_bits & 0x2041:
            raise InvalidInput(_FIELD, f"{name[:200]!r} is encrypted", hint="send a zip without a password")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InvalidInput(_FIELD, f"{name[:200]!r} is a link, not a file", hint="zip the files themselves")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidInput(_FIELD, f"{name[:200]!r} is packed by a method that is not read", hint="use deflate")
    unpacked = sum(entry.file_size for entry in entries)
    _check_bytes(unpacked, limits)
    if unpacked > limits.max_archive_ratio * archive_bytes:
        raise InvalidInput(
            _FIELD,
            f"{archive_bytes:,} bytes unpack to {unpacked:,}; more than {limits.max_archive_ratio:g} times is refused",
            hint="send the pictures as JPEG or PNG",
        )


def _read(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: LimitSettings) -> Iterator[ArchivedFile]:
    """The files' bytes, counted while they are read, whatever the archive announced."""
    total = 0
    for entry in entries:
        chunks = []
        with archive.open(entry) as file:
            while chunk := file.read(_CHUNK):
                total += len(chunk)
                _check_bytes(total, limits)
                chunks.append(chunk)
        yield ArchivedFile(entry.filename, b"".join(chunks))


def _check_bytes(unpacked: int, limits: LimitSettings) -> None:
    if unpacked > limits.max_archive_bytes:
        raise InvalidInput(
            _FIELD,
            f"the archive unpacks to more than {limits.max_archive_bytes:,} bytes",
            hint="send several smaller ones",
        )


def _is_litter(name: str) -> bool:
    """Whether a file is what an operating system left there: `__MACOSX/`, names with a dot first, Thumbs.db."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] in ("Thumbs.db", "desktop.ini")


def _too_many(limits: LimitSettings) -> InvalidInput:
    return InvalidInput(
        _FIELD, f"the archive has more than {limits.max_archive_entries:,} entries", hint="send several smaller ones"
    )


def _damaged() -> InvalidInput:
    return InvalidInput(_FIELD, "the archive is damaged or cut short", hint="send the whole zip again")
