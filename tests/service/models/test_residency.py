"""Which models are evicted for another, for any mixture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.models.residency import Resident, choose_evictions


@st.composite
def mixtures(draw: st.DrawFn) -> list[Resident]:
    models = []
    for place in range(draw(st.integers(0, 4))):
        name = f"b{place}"
        for number in range(draw(st.integers(1, 3))):
            identity = name if number == 0 else f"{name}-{number}"
            models.append(
                Resident(identity, name, draw(st.integers(0, 10)), draw(st.floats(0, 9, width=16)), draw(st.booleans()))
            )
    return models


@given(mixtures(), st.integers(0, 40), st.integers(0, 80))
def test_evicted_models_are_evictable_and_make_room(loaded: list[Resident], needed: int, budget: int) -> None:
    by_id = {model.id: model for model in loaded}
    chosen = choose_evictions(loaded, needed, budget)
    if chosen is None:
        stay = [m for m in loaded if not m.evictable or any(o.backbone == m.id and not o.evictable for o in loaded)]
        assert sum(model.bytes for model in stay) + needed > budget
        return
    left = [model for model in loaded if model.id not in chosen]
    assert all(by_id[name].evictable for name in chosen)
    assert len(set(chosen)) == len(chosen)
    assert not chosen or sum(model.bytes for model in left) + needed <= budget
    assert all(model.backbone in {other.id for other in left} for model in left)


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    loaded = [Resident(name, name, 10, used, True) for name, used in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    assert choose_evictions(loaded, 10, 30) == ["b"]
    assert choose_evictions(loaded, 20, 30) == ["b", "c"]
    assert choose_evictions(loaded, 0, 30) == []


def test_a_backbone_goes_after_its_models_and_only_when_all_may() -> None:
    backbone, head = Resident("sd15", "sd15", 10, 1.0, True), Resident("vpd", "sd15", 5, 2.0, True)
    assert choose_evictions([backbone, head], 15, 15) == ["vpd", "sd15"]
    busy = Resident("vpd", "sd15", 5, 2.0, False)
    assert choose_evictions([backbone, busy], 15, 15) is None
