"""Unique paths for files of results, below one folder and short enough for a file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_PART_BYTES = 255
_PATH_BYTES = 1024
# Escaped bytes of `readable_name`: their backslash does not separate folders.
_ESCAPED = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4})")
_CONTROLS = re.compile("[\x00-\x1f\x7f]")


def safe_path(name: str, ending: str = "") -> str:
    """An image's name with an ending, as a path below a folder.

    The name's suffix stays. Parts such as `..` are removed. A part that is too long for a file system is cut, and ends
    in letters of its digest.
    """
    plain = _ESCAPED.sub(r"_\1", _CONTROLS.sub("_", name)).replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    parts = [f"{part[:-1]}_" if part.endswith(":") else part for part in parts] or ["image"]
    whole = [*map(_short_part, parts[:-1]), _short_part(parts[-1], ending)]
    path = "/".join(whole)
    return path if len(path.encode()) <= _PATH_BYTES else f"{_digest(name)}/{whole[-1]}"


class FreePaths:
    """Gives each result a unique path, also on file systems that ignore case."""

    def __init__(self) -> None:
        # Hashes take less memory than paths. If two paths have the same hash, the second gets a number, no more.
        self._taken: set[int] = set()

    def take(self, name: str, ending: str = "") -> str:
        """The path of `safe_path`, with a number before the ending if that is taken."""
        path, number = safe_path(name, ending), 2
        while (key := path_key(path)) in self._taken:
            path = safe_path(name, f"-{number}{ending}")
            number += 1
        self._taken.add(key)
        return path


def path_key(path: str) -> int:
    """The same key for paths that a file system may treat as equal: by case, or by composed and decomposed letters."""
    return hash(unicodedata.normalize("NFC", path).casefold())


def _short_part(part: str, ending: str = "") -> str:
    most = _PART_BYTES - len(ending.encode())
    if len(part.encode()) <= most:
        return part + ending
    digest = f"-{_digest(part)}"
    return part.encode()[: most - len(digest)].decode(errors="ignore") + digest + ending


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
