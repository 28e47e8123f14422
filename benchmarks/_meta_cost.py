"""Counts the cost of a pass on a GPU, on torch's `meta` device: operations, the bytes that they move, their memory.

The speed of a card for each operation is assumed. The counted operations are those that PyTorch starts.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Unit = Literal["convolution", "product", "attention"]

# Kernels of one operation: a convolution changes the layout before and after, a group norm reads twice.
_KERNELS = {"convolution": 3, "native_group_norm": 3}
_FREE = ("detach", "alias", "lift_fresh", "empty", "empty_like", "_unsafe_view", "empty_strided", "new_empty")


@dataclass(frozen=True, slots=True)
class Rates:
    """FLOPs a second of each kind of operation in one number type, for a batch of several rows.

    small: factor for a batch of a single row.
    """

    convolution: float
    product: float
    attention: float
    small: float = 0.55


@dataclass(frozen=True, slots=True)
class Card:
    """Assumed speed of a GPU.

    half, full: of bfloat16 and float16, and of float32 without TF32. memory: bytes a second. kernel: minimum seconds of
    one kernel. launch: seconds of the host for each kernel, in eager PyTorch.
    """

    name: str
    half: Rates
    full: Rates
    memory: float
    kernel: float = 2.5e-6
    launch: float = 12e-6


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. unit: the kind of its rate. moved: bytes that it reads and writes. half: of a type of 2 bytes."""

    unit: Unit
    flops: float
    moved: float
    kernels: int
    half: bool


@dataclass(slots=True)
class Cost:
    """The counted operations. peak_bytes: the maximum memory of tensors that were made meanwhile."""

    operations: list[Operation] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def flops(self) -> float:
        return sum(operation.flops for operation in self.operations)

    @property
    def kernels(self) -> int:
        return sum(operation.kernels for operation in self.operations)

    def device_seconds(self, card: Card, *, batch: int) -> float:
        """Seconds of the device; each operation is bound by arithmetic, by memory or by the start of its kernels."""
        total = 0.0
        for operation in self.operations:
            rates = card.half if operation.half else card.full
            rate = getattr(rates, operation.unit) * (rates.small if batch == 1 else 1.0)
            total += max(
                operation.flops / rate,
                operation.moved * operation.kernels / card.memory,
                card.kernel * operation.kernels,
            )
        return total

    def seconds(self, card: Card, *, batch: int) -> float:
        """Seconds of a batch: of the device, or of the host that starts its kernels, whichever is longer."""
        return max(self.device_seconds(card, batch=batch), self.kernels * card.launch)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cost = Cost()
        self._held = 0
        self._users: Counter[int] = Counter()
        self._known: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()

    def add(self, unit: Unit, flops: float, moved: float, kernels: int, like: Tensor) -> None:
        self.cost.operations.append(Operation(unit, flops, moved, kernels, like.element_size() <= 2))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in made:
            self._hold(tensor)
        view = any(
            returned.alias_info is not None and not returned.alias_info.is_write for returned in func._schema.returns
        )
        if view or name in _FREE or not made:
            return out
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        flops = 0
        if func._overloadpacket in flop_registry:
            flops = flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        unit: Unit = "convolution" if name == "convolution" else "product"
        self.add(unit, flops, sum(tensor.nbytes for tensor in (*read, *made)), _KERNELS.get(name, 1), made[0])
        return out

    def _hold(self, tensor: Tensor) -> None:
        """Count a tensor's memory until the last tensor that shares it is gone."""
        if self._known.get(id(tensor)) is tensor:
            return
        self._known[id(tensor)] = tensor
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._users[key]:
            self._held += size
            self.cost.peak_bytes = max(self.cost.peak_bytes, self._held)
        self._users[key] += 1
        weakref.finalize(tensor, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            self._held -= size


@contextmanager
def counting() -> Iterator[Cost]:
    """A context in which operations are counted; attention counts as one kernel, as on a card."""
    mode, attention = _Counting(), functional.scaled_dot_product_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        rows, heads, length, width = query.shape
        # Narrow heads are padded to 64, and a mask halves the speed of the kernel.
        flops = 4.0 * rows * heads * length * key.shape[-2] * max(width, 64) * (1 if attn_mask is None else 2)
        mode.add("attention", flops, 2 * query.nbytes + key.nbytes + value.nbytes, 1, query)
        return torch.empty_like(query)

    functional.scaled_dot_product_attention = attend  # type: ignore[assignment]
    try:
        with torch.no_grad(), mode:
            yield mode.cost
    finally:
        functional.scaled_dot_product_attention = attention
