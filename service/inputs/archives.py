"""Untrusted zips: bounded before and while they are read, and never unpacked to disk."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from backbones.errors import InvalidInput
from heads.image_files import is_litter
from service.inputs.names import readable_name
from service.inputs.zip_files import open_zip
from service.settings.groups import LimitSettings

MEDIA_TYPES = ("application/zip", "application/x-zip-compressed")

_END = b"PK\x05\x06"
_END64_MARK, _LOCATOR64_MARK = b"PK\x06\x06", b"PK\x06\x07"
# Signature, size, two versions, two disks, entries on this disk and in total, size and offset of the directory.
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 65_535
# The list of contents takes 46 bytes and the name of each entry; names are not longer than this on average.
_LISTING_BYTES = 1024
# The root of a Windows drive; "a:b.png" and "12:30.png" are names.
_DRIVE = re.compile("[A-Za-z]:/")
_CHUNK = 1024 * 1024
_FIELD = "archive"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of an archive. name: its path inside, with `/` between folders."""

    name: str
    data: bytes


def is_archive(data: bytes | bytearray) -> bool:
    """Whether the bytes begin as a zip does."""
    return data.startswith((b"PK\x03\x04", _END))


def read_archive(data: bytes, limits: LimitSettings) -> list[ArchivedFile]:
    """The files of a zip by name, without folders and without files that macOS and Windows add.

    Raises InvalidInput for an empty, damaged or encrypted archive, a path that leads out of it, a link, a name that
    stands twice, and more entries, bytes or growth than the settings allow.
    """
    with _opened(BytesIO(data), limits) as (archive, entries):
        _check_each(archive.infolist())
        return list(_read(archive, entries, limits))


def entry_path(entry: zipfile.ZipInfo) -> str:
    """The path of an archive's file, with `/` between folders.

    Many programs write UTF-8 without the flag for it; `zipfile` reads such names as code page 437.
    """
    name = entry.filename
    if not entry.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def is_file(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a file that has a name."""
    return bool(entry.filename) and not entry.is_dir()


def check_archive(file: BinaryIO, limits: LimitSettings) -> None:
    """Raises InvalidInput for an archive that is empty, damaged or out of bounds, without a look at its single
    files.
    """
    with _opened(file, limits):
        pass


@contextmanager
def _opened(file: BinaryIO, limits: LimitSettings) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive, whose list of contents is within bounds, and its files by name."""
    size = file.seek(0, 2)
    _check_listing(file, size, limits)
    try:
        with open_zip(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, size, limits)
            files = [entry for entry in entries if is_file(entry) and not is_litter(entry_path(entry))]
            if not files:
                raise InvalidInput(_FIELD, "the archive holds no file", hint="zip image files")
            yield archive, sorted(files, key=entry_path)
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
        raise _damage_error() from error


def _check_listing(file: BinaryIO, size: int, limits: LimitSettings) -> None:
    """Raises InvalidInput for a list of contents so long that reading it would fill the memory."""
    start = max(0, size - 22 - _LONGEST_COMMENT - _LOCATOR64.size - _END64.size)
    file.seek(start)
    data = file.read()
    # Located as in zipfile: at the very end, else the last one that a comment may follow.
    at = len(data) - 22
    if at < 0 or not (data.startswith(_END, at) and data.endswith(b"\0\0")):
        at = data.rfind(_END, max(0, len(data) - 22 - _LONGEST_COMMENT))
    if at < 0 or len(data) < at + 22:
        raise _damage_error()
    announced = [struct.unpack_from("<HI", data, at + 10)]
    if at >= _LOCATOR64.size and data.startswith(_LOCATOR64_MARK, at - _LOCATOR64.size):
        announced = _read_end64(file, data, at - _LOCATOR64.size)
    if any(entries > limits.max_archive_entries for entries, _ in announced) or any(
        listing_bytes > limits.max_archive_entries * _LISTING_BYTES for _, listing_bytes in announced
    ):
        raise _too_many(limits)


def _read_end64(file: BinaryIO, data: bytes, locator: int) -> list[tuple[int, int]]:
    """Entries and bytes of the list of contents of a zip64.

    Its end record lies before the locator, at its place in `data`; and where the locator says. Versions of zipfile
    differ in which they read, so both are returned if there are both. Raises InvalidInput if there is neither.
    """
    announced = []
    records = [data[max(0, locator - _END64.size) : locator]]
    with suppress(OSError, ValueError, OverflowError):
        file.seek(_LOCATOR64.unpack_from(data, locator)[2])
        records.append(file.read(_END64.size))
    for record in records:
        if len(record) == _END64.size and record.startswith(_END64_MARK):
            values = _END64.unpack(record)
            announced.append((values[7], values[8]))
    if not announced:
        raise _damage_error()
    return announced


def _check_entries(entries: list[zipfile.ZipInfo], archive_bytes: int, limits: LimitSettings) -> None:
    """Raises InvalidInput for limits that the list of contents exceeds."""
    if len(entries) > limits.max_archive_entries:
        raise _too_many(limits)
    unpacked = sum(entry.file_size for entry in entries)
    _check_bytes(unpacked, limits)
    if unpacked > limits.max_archive_ratio * archive_bytes:
        raise InvalidInput(
            _FIELD,
            f"{archive_bytes:,} bytes unpack to {unpacked:,}; more than {limits.max_archive_ratio:g} times is refused",
            hint="send the pictures as JPEG or PNG",
        )


def entry_problem(entry: zipfile.ZipInfo) -> InvalidInput | None:
    """Why a file of an archive must not be read, apart from damage; None if it may be read."""
    name = entry.filename
    if not name:
        return _damage_error()
    # Nothing is unpacked to disk, so names may hold any characters; only paths that lead out are refused.
    path = entry_path(entry)
    if path.startswith("/") or ".." in path.split("/") or _DRIVE.match(path):
        return InvalidInput(_FIELD, f"the path {name[:200]!r} points outside the archive", hint="zip a folder")
    if entry.flag_bits & 0x2041:
        return InvalidInput(_FIELD, f"{name[:200]!r} is encrypted", hint="send a zip without a password")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return InvalidInput(_FIELD, f"{name[:200]!r} is a link, not a file", hint="zip the files themselves")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return InvalidInput(_FIELD, f"{name[:200]!r} has an unsupported compression method", hint="use deflate")
    return None


def _check_each(entries: list[zipfile.ZipInfo]) -> None:
    """Raises InvalidInput for a file that cannot be read, or whose name is repeated."""
    names: set[str] = set()
    for entry in entries:
        if problem := entry_problem(entry):
            raise problem
        if entry.filename in names:
            raise InvalidInput(
                _FIELD, f"{entry.filename[:200]!r} is in the archive twice", hint="give every file a name of its own"
            )
        names.add(entry.filename)


def _read(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: LimitSettings) -> Iterator[ArchivedFile]:
    """The files' bytes, counted while they are read, because the announced sizes may be wrong."""
    total = 0
    for entry in entries:
        chunks = []
        with archive.open(entry) as file:
            while chunk := file.read(_CHUNK):
                total += len(chunk)
                _check_bytes(total, limits)
                chunks.append(chunk)
        yield ArchivedFile(readable_name(entry_path(entry)), b"".join(chunks))


def _check_bytes(unpacked: int, limits: LimitSettings) -> None:
    if unpacked > limits.max_archive_bytes:
        raise InvalidInput(
            _FIELD,
            f"the archive unpacks to more than {limits.max_archive_bytes:,} bytes",
            hint="send several smaller ones",
        )


def _too_many(limits: LimitSettings) -> InvalidInput:
    return InvalidInput(
        _FIELD, f"the archive has more than {limits.max_archive_entries:,} entries", hint="send several smaller ones"
    )


def _damage_error() -> InvalidInput:
    return InvalidInput(_FIELD, "the archive is damaged or cut short", hint="send the whole zip again")
