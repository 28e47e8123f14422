"""Which paths of the server a job over REST may read: those below the places in the setting `jobs.sources`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from backbones.errors import InvalidInput
from service.jobs.addresses import decode_address

_LOCAL = (None, "file", "local")


def check_place(address: str, allowed: Sequence[str], *, field: str) -> None:
    """Raises InvalidInput unless an address, or pattern, lies below one of `allowed`; links are followed.

    Only links on the local disk are read, and the client learns nothing about which files exist.
    """
    try:
        inside = any(_is_below(address, place) for place in allowed)
    except (ValueError, OSError):  # a zero or half a letter in a path, or too many links
        inside = False
    if not inside:
        raise InvalidInput(
            field,
            "jobs may not read there",
            hint="upload a zip, or ask the server's operator to add the folder to DIFFSIGHT_JOBS__SOURCES",
        )


def check_item(path: str, file_system: Any, allowed: Sequence[str]) -> None:
    """The same for one image below an allowed place: a link, or a name in a COCO file, may point outside.

    path: on the fsspec file system. Raises InvalidInput.
    """
    if "file" in file_system.protocol:
        check_place(path, allowed, field="image")
    elif ".." in re.split(r"[/\\]", path):
        raise InvalidInput("image", "jobs may not read there", hint="name images below their folder")


def _is_below(address: str, place: str) -> bool:
    address = decode_address(address)
    # A chain such as zip://a::https://b opens another place than its beginning says; a local path is no chain.
    if ("::" in address and not address.startswith("/")) or ".." in re.split(r"[/\\]", address):
        return False
    protocols = [split_protocol(path)[0] for path in (address, place)]
    if not all(protocol in _LOCAL for protocol in protocols):
        return f"{address.rstrip('/')}/".startswith(f"{place.rstrip('/')}/")
    # As fsspec will read it: with ~ for the home folder, and without file://.
    path, named = (str(LocalFileSystem._strip_protocol(text)) for text in (address, place))
    root = os.path.realpath(named)
    if not _is_inside(os.path.realpath(path), root):
        return False
    # An existing path is not a pattern. Links before a pattern's first wildcard are followed here, and links behind it
    # for each image.
    prefix = f"{named}/" if path.startswith(f"{named}/") else ""
    plain = prefix + re.split(r"[*?\[]", path.removeprefix(prefix), maxsplit=1)[0]
    return plain == path or os.path.lexists(path) or _is_inside(os.path.realpath(plain.rpartition("/")[0] or "/"), root)


def _is_inside(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")
