"""Chooses the models to unload so that a model fits, and detects models that never fit. Pure functions of a store's
slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backbones.errors import InvalidInput
from service.models.residency import choose_evictions
from service.models.slots import Slot


@dataclass(frozen=True, slots=True)
class Room:
    """How to make room for a model.

    leaving: ids of idle models to evict now, in order; None while there is no room. draining: ids of busy models that
    accept no new users from now on.
    """

    leaving: tuple[str, ...] | None
    draining: tuple[str, ...] = ()


def choose_room(slots: Mapping[str, Slot], slot: Slot, budget_bytes: int, now: float) -> Room:
    """How to make room for `slot` among the others. now: of the clock that the slots' times are of."""
    others = [other for other in slots.values() if other is not slot and other.is_open()]
    budget = budget_bytes - sum(other.bytes for other in slots.values() if other.reading and not other.is_open())
    idle = [other.as_resident(evictable=other.may_leave()) for other in others]
    if (chosen := choose_evictions(idle, slot.bytes, budget)) is not None:
        return Room(tuple(chosen))
    backbone = slots[slot.spec.backbone]
    busy = [other.as_resident(evictable=other is not backbone and other.may_drain()) for other in others]
    # A new model stays at least as long as its load took, or the server would load more than it answers.
    draining = [
        name
        for name in choose_evictions(busy, slot.bytes, budget) or ()
        if now - slots[name].loaded_at >= slots[name].load_seconds
    ]
    return Room(None, tuple(draining))


def check_fits_ever(slots: Mapping[str, Slot], slot: Slot, budget_bytes: int) -> None:
    """Raises InvalidInput if a model does not fit together with its backbone and the pinned models."""
    fixed = {other.spec.id: other for other in slots.values() if other.spec.pinned and other.is_open()}
    fixed[slot.spec.backbone] = slots[slot.spec.backbone]
    fixed[slot.spec.id] = slot
    if (least := sum(member.bytes for member in fixed.values())) > budget_bytes:
        raise InvalidInput(
            "model",
            f"{slot.spec.id!r} takes {slot.bytes:,} bytes, and {least:,} with the models that must stay loaded; "
            "models may "
            f"take {budget_bytes:,}",
            hint="raise the server's engine.memory_bytes, or serve it at half precision",
        )
