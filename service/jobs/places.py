"""Which places on the server's own side a job over REST may read: those below what the setting `jobs.sources` names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from backbones.errors import InvalidInput

_LOCAL = (None, "file", "local")


def check_place(address: str, allowed: Sequence[str], *, field: str) -> None:
    """Raises InvalidInput unless an address, or pattern, lies below one of `allowed`; links are followed.

    Nothing is opened or looked up but links on the local disk, and the caller is told nothing of what is there.
    """
    try:
        inside = any(_is_below(address, place) for place in allowed)
    except (ValueError, OSError):  # a zero or half a letter in a path, or too many links
        inside = False
    if not inside:
        raise InvalidInput(
            field,
            "jobs may not read there",
            hint="upload a zip, or ask who runs this server for a folder in DIFFSIGHT_JOBS__SOURCES",
        )


def check_item(path: str, file_system: Any, allowed: Sequence[str]) -> None:
    """The same of one image below an allowed place: a link, or a name in a COCO file, may lead away from there.

    path: on the fsspec file system. Raises InvalidInput.
    """
    if "file" in file_system.protocol:
        check_place(path, allowed, field="image")
    elif ".." in re.split(r"[/\\]", path):
        raise InvalidInput("image", "jobs may not read there", hint="name images below their folder")


def _is_below(address: str, place: str) -> bool:

    # A chain such as zip://a::https://b would open something else than it begins with.
    if "::" in address or ".." in re.split(r"[/\\]", address):
        return False
    protocols = [split_protocol(one)[0] for one in (address, place)]
    if not all(protocol in _LOCAL for protocol in protocols):
        return f"{address.rstrip('/')}/".startswith(f"{place.rstrip('/')}/")
    # As fsspec will read it: with ~ for the home folder, and without file://.
    path, root = (str(LocalFileSystem._strip_protocol(one)) for one in (address, place))
    plain = re.split(r"[*?\[]", path, maxsplit=1)[0]
    real = os.path.realpath(plain if plain == path else plain.rpartition("/")[0] or "/")
    root = os.path.realpath(root)
    return real == root or real.startswith(root.rstrip("/") + "/")
