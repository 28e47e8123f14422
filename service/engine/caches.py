"""Caches of tensors, each within a budget of bytes: the least recently used entry is evicted first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Entries and bytes now; hits and misses since the start."""

    entries: int
    bytes: int
    hits: int
    misses: int


class TensorCache:
    """A thread-safe mapping from keys to tensors that holds at most `budget_bytes`; 0 keeps nothing.

    A key must hold all that changes the value, the revision of the weights included: several backbones may share a
    cache. A tensor must not change once it is in the cache: all readers share it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = Lock()

    def get(self, key: Hashable, *, counted: bool = True) -> Tensor | None:
        """The tensor (any shape) of `key`, or None. counted: whether the figures count it as a hit or a miss."""
        with self._lock:
            tensor = self._tensors.get(key)
            self._hits += counted and tensor is not None
            self._misses += counted and tensor is None
            if tensor is not None:
                self._tensors.move_to_end(key)
            return tensor

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Add a tensor (any shape), unless it is larger than the whole budget."""
        with self._lock:
            if key in self._tensors or tensor.nbytes > self.budget_bytes:
                return
            self._tensors[key] = own = own_memory(tensor)
            self._bytes += own.nbytes
            while self._bytes > self.budget_bytes:
                _, evicted = self._tensors.popitem(last=False)
                self._bytes -= evicted.nbytes

    def figures(self) -> CacheFigures:
        with self._lock:
            return CacheFigures(len(self._tensors), self._bytes, self._hits, self._misses)


def own_memory(tensor: Tensor) -> Tensor:
    """The tensor (any shape) in memory of its own: a view would keep that of its whole batch."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
