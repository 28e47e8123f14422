"""Which parameters of a network learn."""

from __future__ import annotations

from collections.abc import Sequence


def learns(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter's name contains one of `parts`; without parts, every parameter learns."""
    return not parts or any(part in name for part in parts)
