"""Which parameters of a network learn."""

from __future__ import annotations

from collections.abc import Sequence


def learns(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter's name holds one of `parts`; without any all do."""
    return not parts or any(part in name for part in parts)
