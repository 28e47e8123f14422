"""Tensors worth keeping, within a budget of bytes: least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Entries and bytes held now; hits and misses since the start."""

    entries: int
    bytes: int
    hits: int
    misses: int


class TensorCache:
    """A thread-safe mapping from a key to a tensor, of `budget_bytes` at most; 0 keeps nothing.

    What is put in must not change afterwards: every reader gets the same tensor.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = Lock()

    def get(self, key: Hashable, *, counted: bool = True) -> Tensor | None:
        """The tensor under `key`, of the shape it was put in with, or None; `counted` makes it a hit or a miss."""
        with self._lock:
            found = self._held.get(key)
            self._hits += counted and found is not None
            self._misses += counted and found is None
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keep a tensor of any shape; one larger than the whole budget is not kept."""
        # A view would keep its whole batch alive and make the count of bytes a lie.
        kept = tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
        with self._lock:
            if key in self._held or kept.nbytes > self.budget_bytes:
                return
            self._held[key] = kept
            self._bytes += kept.nbytes
            while self._bytes > self.budget_bytes:
                _, gone = self._held.popitem(last=False)
                self._bytes -= gone.nbytes

    def figures(self) -> CacheFigures:
        with self._lock:
            return CacheFigures(len(self._held), self._bytes, self._hits, self._misses)
