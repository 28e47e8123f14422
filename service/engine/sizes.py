"""How many bytes a call's items keep in memory while they wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from torch import Tensor


def count_bytes(items: Iterable[Any]) -> int:
    """Bytes of all tensors in items: tensors, texts, or rows that hold tensors. Tensors that items share count once."""
    seen: set[int] = set()
    return sum(_bytes_in(item, seen) for item in items)


def _bytes_in(value: Any, seen: set[int]) -> int:
    if isinstance(value, Tensor):
        if id(value) in seen:
            return 0
        seen.add(id(value))
        return value.numel() * value.element_size()
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_bytes_in(member, seen) for member in value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_bytes_in(getattr(value, name), seen) for name in _names(type(value)))
    return 0


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
