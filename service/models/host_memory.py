"""Unloaded models in host memory: loading them again is a copy, without reading files.

On a CPU the device's memory is the host's: an unloaded model is kept without a copy.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backbones.stable_diffusion import StableDiffusion, Variant
from service.models.loading import OpenHeads

HOST = torch.device("cpu")


@dataclass(slots=True, eq=False)
class HeldModel:
    """An unloaded model in host memory.

    opened: the heads of a backbone, or the head of a model of a task. variants: the U-Nets that such a model adds.
    revision: of the backbone over which it was opened. bytes: of memory. device: where its weights belong.
    moved: its tensors, of any shape, that came from the device. moving: the copy to the host, while it runs.
    """

    opened: Any
    variants: Mapping[str, Variant]
    revision: str
    bytes: int
    device: torch.device
    moved: Sequence[Tensor] = ()
    moving: asyncio.Future[None] | None = field(default=None)

    def leave_device(self) -> None:
        """Copy every tensor of it on the device to the host; blocks."""
        self.moved = [tensor for tensor in tensors_in((self.opened, self.variants)) if tensor.device == self.device]
        move(self.moved, HOST)

    def return_to_device(self) -> None:
        """Copy the moved tensors back to the device; blocks. Raises torch.OutOfMemoryError if they do not fit."""
        move(self.moved, self.device)
        self.moved = ()


class HostMemory:
    """The models in host memory, at most `budget_bytes` of them: the model that was unloaded first is dropped first.

    It is used on the event loop. Only the copies from the device run on a thread.
    """

    def __init__(self, budget_bytes: int = 0) -> None:
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[str, HeldModel] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Bytes of all held models."""
        return sum(held.bytes for held in self._held.values())

    def bytes_of(self, name: str) -> int:
        """Bytes held of a model; 0 if it is not held."""
        return self._held[name].bytes if name in self._held else 0

    def keep(self, name: str, held: HeldModel) -> None:
        """Keep an unloaded model, unless it is larger than the budget; others are dropped for it."""
        if held.bytes > self.budget_bytes:
            return
        while self.bytes + held.bytes > self.budget_bytes:
            self._held.popitem(last=False)
        if held.device.type != HOST.type:
            held.moving = asyncio.get_running_loop().run_in_executor(None, held.leave_device)
        self._held[name] = held

    async def settle(self) -> None:
        """Wait until all copies from the device have ended. A model whose copy failed is dropped."""
        for name, held in list(self._held.items()):
            if held.moving is None:
                continue
            try:
                await asyncio.shield(held.moving)
            except Exception:
                self.drop(name)
            held.moving = None

    def take(self, name: str, revision: str | None = None) -> HeldModel | None:
        """Remove and return a held model; None if it is not held, or was opened over other weights.

        revision: of the backbone to run on; None for a backbone itself.
        """
        held = self._held.pop(name, None)
        return None if held is None or revision not in (None, held.revision) else held

    def drop(self, name: str) -> None:
        """Drop a model."""
        self._held.pop(name, None)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor that a model holds, each once: in networks, dataclasses, mappings, sequences and a backbone."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        else:
            waiting.extend(_parts_of(item))


def _parts_of(item: Any) -> Iterable[Any]:
    if isinstance(item, nn.Module):
        return (*item.parameters(), *item.buffers())
    if isinstance(item, Mapping):
        return item.values()
    if isinstance(item, (list, tuple)):
        return item
    if isinstance(item, OpenHeads):
        return item.backbone, *item.list_open()
    if isinstance(item, StableDiffusion):
        return item.vae, item.text_encoder, item.variants
    if is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, part.name) for part in fields(item)]
    # The other backbones hold their networks as attributes.
    return [part for part in vars(item).values() if isinstance(part, nn.Module)] if hasattr(item, "__dict__") else ()


def move(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Copy the memory of tensors, of any shape, to a device, in place; tensors that share memory still share it
    afterwards.
    """
    moved: dict[int, torch.UntypedStorage] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer not in moved:
            copy = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device)
            copy.copy_(torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage))
            moved[pointer] = copy.untyped_storage()
        empty = torch.empty(0, dtype=tensor.dtype, device=device)
        tensor.data = empty.set_(moved[pointer], tensor.storage_offset(), tensor.size(), tensor.stride())
