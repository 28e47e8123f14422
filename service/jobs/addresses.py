"""Addresses of local files or fsspec URLs, as text that a database can store."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from backbones.errors import InvalidInput
from service.inputs.names import readable_name
from service.jobs.regular_files import open_regular

# Prefix of the address of a file whose name is not UTF-8; paths begin with a slash, or with a protocol.
_BYTES = "bytes:"


def open_address(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path there. Raises InvalidInput if its package is missing."""
    address = decode_address(address)
    if address.startswith("/"):
        # Not taken apart: a local name may have "::" and "://" in it.
        return LocalFileSystem(), posixpath.normpath(address)
    try:
        fs, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InvalidInput(
            "source", f"{address!r}: {error}", hint="install fsspec's package for this kind of address, such as s3fs"
        ) from error
    return fs, path


def open_file(address: str) -> BinaryIO:
    """Open the regular file at an address for reading. Raises OSError for other files, and as `open_address` does."""
    return open_regular(*open_address(address))


def encode_address(path: str) -> str:
    """A path as text that every database can store; names that are not UTF-8 have percent-encoded bytes."""
    return path if path == readable_name(path) else _BYTES + quote(os.fsencode(path))


def decode_address(address: str) -> str:
    """The path of an address of `encode_address`."""
    return os.fsdecode(unquote_to_bytes(address.removeprefix(_BYTES))) if address.startswith(_BYTES) else address


def is_regular(path: str, about: Mapping[str, Any]) -> bool:
    """Whether an entry of a listing is a file or a link to a file, because a pipe would never end."""
    if about.get("type") != "other":
        return about.get("type") == "file"
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
