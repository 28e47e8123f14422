"""The largest batch: by the memory of its activations, by its expected time, and by batches that failed."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt

from backbones.activation_memory import count_fitting, item_bytes, positions_of
from backbones.backbone import Backbone
from backbones.free_memory import free_bytes
from service.engine.batching import cost_key
from service.engine.best_sizes import BestSizes
from service.engine.queue import FUNCTIONS, Kind

# A batch of this many items uses a device well; a larger one must cost hardly any more time.
FULL_BATCH, SHORT_SECONDS = 32, 0.25
# After this many batches in a row that fitted, a limit set by an out-of-memory error is doubled.
RECOVERY_BATCHES = 64
# For batches up to this size free memory is not checked.
_SMALL_BYTES = 64 << 20
_MOST_KEYS = 1_000
_NEWEST_SHARE = 0.5
_EARLY_BATCHES, _EARLY_DOUBT = 8, 4.0


@dataclass(slots=True)
class _Measured:
    """Seconds an item and a place of its map, and the limit after a batch ran out of memory.

    fastest: the fewest seconds an item over all batches. batches: their number. fitted: batches since that limit was
    set. sizes: the processor's cost of batches of each size.
    """

    seconds: float
    seconds_a_position: float
    fastest: float
    batches: int = 0
    most: int | None = None
    fitted: int = 0
    sizes: BestSizes = field(default_factory=BestSizes)


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What batches of one kind, backbone and shape of input cost: in seconds, as of `_Measured`."""

    kind: str
    revision: str
    shape: str
    seconds: NonNegativeFloat
    seconds_a_position: NonNegativeFloat
    fastest: NonNegativeFloat
    batches: PositiveInt
    sizes: Mapping[PositiveInt, NonNegativeFloat]

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the cost of."""
        return self.kind, self.revision, self.shape


def largest_batch(
    *,
    most: int,
    fitting: int | None,
    seconds_each: float | None,
    max_seconds: float,
    failed_above: int | None = None,
    cheapest: int | None = None,
) -> int:
    """Items of the largest batch, one at least.

    most: by setting; 0 sets none. fitting: how many fit in memory, None if unknown. seconds_each: measured, of one
    item; None before any batch. failed_above: the size past which memory ran out. cheapest: the size past which an item
    costs more, None if unknown.
    """
    bounds = [most] if most else [FULL_BATCH]
    if not most and seconds_each is not None:
        bounds = [max(FULL_BATCH, int(SHORT_SECONDS / max(seconds_each, 1e-9)))]
    if seconds_each is not None and math.isfinite(max_seconds):
        bounds.append(int(max_seconds / max(seconds_each, 1e-9)))
    bounds += [bound for bound in (fitting, failed_above, cheapest) if bound is not None]
    return max(1, min(bounds))


class BatchLimits:
    """The largest batch of each backbone, kind and shape, from measurements.

    max_items: by setting; 0 sets none. max_seconds: of one batch. free: bytes that are free on a device. lanes: how
    many batches run at a time, each of which may use its share of free memory.
    """

    def __init__(
        self,
        max_items: int = FULL_BATCH,
        max_seconds: float = math.inf,
        free: Callable[[torch.device], int] = free_bytes,
        lanes: int = 1,
    ) -> None:
        self.max_items = max_items
        self.max_seconds = max_seconds
        self._free = free
        self.lanes = lanes
        self._measured: OrderedDict[tuple[str, str, str], _Measured] = OrderedDict()

    def limit(self, kind: Kind, backbone: Backbone, item: Any) -> int:
        """Items of the largest batch that `item` may lead."""
        measured = self._measured.get(_key(kind, backbone, item))
        return largest_batch(
            most=self.max_items,
            fitting=self._count_fitting(kind, backbone, item),
            seconds_each=self.seconds_each(kind, backbone, item),
            max_seconds=self.max_seconds,
            failed_above=None if measured is None else measured.most,
            cheapest=None if measured is None else measured.sizes.limit(),
        )

    def seconds_each(self, kind: Kind, backbone: Backbone, item: Any) -> float | None:
        """Seconds of one item in a batch; of another size or fine-tuned network by its pixels; None if unknown."""
        measured = self._measured.get(_key(kind, backbone, item))
        if measured is not None:
            return measured.seconds
        revision = _revision(backbone)
        for (other_kind, other_revision, _), measured in reversed(self._measured.items()):
            if (other_kind, other_revision) == (kind, revision):
                return measured.seconds_a_position * positions_of(item)
        return None

    def least_seconds(self, kind: Kind, backbone: Backbone, item: Any, items: int) -> float:
        """Least seconds that so many items like this one take, by measured batches; 0.0 if none was measured.

        By the fastest batch that was measured. Few batches say little: the first one of a process is slow, and a single
        item is slower than one of a full batch, so an early figure is divided by `_EARLY_DOUBT`.
        """
        revision = _revision(backbone)
        figures = [
            (measured.batches, measured.fastest / positions * positions_of(item))
            for (other_kind, other_revision, _), measured in self._measured.items()
            if (other_kind, other_revision) == (kind, revision)
            and (positions := measured.seconds / measured.seconds_a_position if measured.seconds_a_position else 0.0)
        ]
        if not figures:
            return 0.0
        early = sum(batches for batches, _ in figures) < _EARLY_BATCHES
        return items * min(each for _, each in figures) / (_EARLY_DOUBT if early else 1.0)

    def count(
        self,
        kind: Kind,
        backbone: Backbone,
        item: Any,
        items: int,
        seconds: float,
        processor_seconds: float | None = None,
    ) -> None:
        """Update the figures with a batch of `items` like this one.

        processor_seconds: of the host, for a batch that was computed there.
        """
        if kind in FUNCTIONS:
            return
        key, each = _key(kind, backbone, item), seconds / items
        measured = self._measured.pop(key, None)
        if measured is None:
            measured = _Measured(each, each / positions_of(item), each)
            if len(self._measured) >= _MOST_KEYS:
                self._measured.popitem(last=False)
        measured.seconds += _NEWEST_SHARE * (each - measured.seconds)
        measured.seconds_a_position = measured.seconds / positions_of(item)
        measured.fastest = min(measured.fastest, each)
        measured.batches += 1
        measured.fitted += 1
        if measured.most is not None and measured.fitted >= RECOVERY_BATCHES:
            measured.most, measured.fitted = 2 * measured.most, 0
        # The cost of a text depends on whether it was embedded before.
        if processor_seconds is not None and kind != "embed":
            measured.sizes.count(items, processor_seconds)
        self._measured[key] = measured

    def count_out_of_memory(self, kind: Kind, backbone: Backbone, item: Any, items: int) -> None:
        """Lower the limit: a batch of `items` like this one did not fit."""
        key = _key(kind, backbone, item)
        measured = self._measured.setdefault(key, _Measured(0.0, 0.0, 0.0))
        measured.most, measured.fitted = max(1, min(measured.most or items, items // 2)), 0

    def costs(self) -> list[BatchCost]:
        """What was measured, the oldest first. Limits after a lack of memory are not part of it."""
        return [
            BatchCost(*key, of.seconds, of.seconds_a_position, of.fastest, of.batches, of.sizes.costs())
            for key, of in self._measured.items()
            if of.batches
        ]

    def restore(self, costs: Iterable[BatchCost]) -> None:
        """Begin with costs that `costs` gave on this machine."""
        for cost in costs:
            measured = _Measured(cost.seconds, cost.seconds_a_position, cost.fastest, cost.batches)
            measured.sizes.restore(cost.sizes)
            self._measured[cost.key] = measured

    def _count_fitting(self, kind: Kind, backbone: Backbone, item: Any) -> int | None:
        model = backbone.description
        each = item_bytes(kind, item, model.activation_bytes, model.downscale)
        if each * max(self.max_items, FULL_BATCH) < _SMALL_BYTES:
            return None
        return count_fitting(each, self._free(model.device) / self.lanes)


def _key(kind: Kind, backbone: Backbone, item: Any) -> tuple[str, str, str]:
    # As text, because costs are kept in files.
    return kind, _revision(backbone), repr(cost_key(item, backbone))


def _revision(backbone: Backbone) -> str:
    return backbone.description.revision
