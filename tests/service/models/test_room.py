"""Which models are evicted for another, and which model never fits."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from service.models.catalogue import ModelSpec
from service.models.room import Room, check_fits_ever, choose_room
from service.models.slots import Slot


def slots_of(**sizes: int) -> dict[str, Slot]:
    """Open backbones of these bytes; the first was used longest ago."""
    slots = {}
    for age, (name, size) in enumerate(sizes.items()):
        slot = Slot(ModelSpec(name, "", name), state="READY", bytes=size, last_used=age, loaded_at=0.0, load_seconds=5)
        slot.head = object()
        slots[name] = slot
    return slots


def add_incoming(slots: dict[str, Slot], size: int) -> Slot:
    slots["new"] = Slot(ModelSpec("new", "", "new"), bytes=size)
    return slots["new"]


def test_idle_models_leave_least_recently_used_first() -> None:
    slots = slots_of(a=10, b=10, c=10)
    assert choose_room(slots, add_incoming(slots, 15), 35, now=100.0) == Room(("a",))
    assert choose_room(slots, slots["new"], 45, now=100.0) == Room(())
    slots["a"].users = 1
    assert choose_room(slots, slots["new"], 35, now=100.0) == Room(("b",))


def test_a_busy_model_takes_no_new_users_after_the_time_that_its_load_took() -> None:
    slots = slots_of(a=10, b=10)
    new = add_incoming(slots, 10)
    for name in ("a", "b"):
        slots[name].users = 1
    assert choose_room(slots, new, 20, now=4.0) == Room(None)
    assert choose_room(slots, new, 20, now=6.0) == Room(None, ("a",))


def test_a_model_that_is_being_read_counts() -> None:
    slots = slots_of(a=10)
    slots["coming"] = Slot(ModelSpec("coming", "", "coming"), bytes=10, state="LOADING", reading=True)
    assert choose_room(slots, add_incoming(slots, 10), 20, now=9.0) == Room(("a",))


def test_a_model_that_never_fits_beside_what_is_pinned_is_refused() -> None:
    slots = slots_of(a=10)
    slots["a"].spec = ModelSpec("a", "", "a", pinned=True)
    new = add_incoming(slots, 11)
    check_fits_ever(slots, new, 21)
    with pytest.raises(InvalidInput, match="21 with the models that must stay"):
        check_fits_ever(slots, new, 20)
