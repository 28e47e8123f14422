"""Which paths of the server a job over REST may read: those below what the setting `jobs.sources` names."""

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

    Nothing is opened or looked up but links on the local disk, and the client learns nothing of what is there.
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
    # A chain such as zip://a::https://b would open something else than it begins with; a local path is no chain.
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
    # What is there by this very name is no pattern. A pattern's links before its first letter that stands for others
    # are followed here, and those behind it with each image.
    prefix = f"{named}/" if path.startswith(f"{named}/") else ""
    plain = prefix + re.split(r"[*?\[]", path.removeprefix(prefix), maxsplit=1)[0]
    return plain == path or os.path.lexists(path) or _is_inside(os.path.realpath(plain.rpartition("/")[0] or "/"), root)


def _is_inside(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")
