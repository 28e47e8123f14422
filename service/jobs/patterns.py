"""Paths that match a pattern. The time grows with the length of the path and the pattern, not exponentially.

fsspec's own `glob` builds one regular expression, whose time grows exponentially with the number of stars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

_MAGIC = frozenset("*?[")


def find_matching(file_system: Any, pattern: str) -> Mapping[str, Any]:
    """The files of an fsspec file system whose paths match, with their properties.

    `*`, `?` and `[...]` match letters in the name of one folder or file; `**` matches any number of folders.
    """
    parts = pattern.split("/")
    plain = next((place for place, part in enumerate(parts) if _MAGIC & set(part)), len(parts))
    if plain == len(parts):
        return {pattern: file_system.info(pattern)} if file_system.isfile(pattern) else {}
    root = "/".join(parts[:plain]) or ("/" if plain else "")
    wanted = parts[plain:]
    depth = None if "**" in wanted else len(wanted)
    prefix = f"{root.rstrip('/')}/" if root else ""
    entries: Mapping[str, Any] = file_system.find(root, maxdepth=depth, detail=True)
    return {path: about for path, about in entries.items() if matches(path.removeprefix(prefix).split("/"), wanted)}


def matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the names of a path's folders and file match a pattern's parts, of which `**` is any number of names."""
    # For each prefix of the pattern: how many names it can match. Stars inside a part do not backtrack in `fnmatch`.
    used = {0}
    for part in parts:
        if part == "**":
            used = set(range(min(used), len(names) + 1))
        else:
            used = {at + 1 for at in used if at < len(names) and fnmatchcase(names[at], part)}
        if not used:
            return False
    # `**` at the end matches files too.
    return len(names) in used
