"""Chooses the models to unload for another one, as a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded model, as input of the choice.

    bytes: that unloading frees. last_used: by any rising clock. evictable: neither pinned nor needed to stay.
    backbone: id of the backbone that it runs on; its own for a backbone.
    """

    id: str
    backbone: str
    bytes: int
    last_used: float
    evictable: bool


def choose_evictions(loaded: Sequence[Resident], needed_bytes: int, budget_bytes: int) -> list[str] | None:
    """Ids of models to unload so that `needed_bytes` fit, in order; None if they cannot fit.

    The least recently used model is unloaded first. A backbone is unloaded with all models that run on it, and only if
    all of them may be, so a model of a task is unloaded before its backbone.
    """
    left = {model.id: model for model in loaded}
    free = budget_bytes - sum(model.bytes for model in loaded)
    evicted: list[str] = []
    while free < needed_bytes:
        candidates = [group for model in left.values() if (group := _list_leaving_together(model, left))]
        if not candidates:
            return None
        chosen = min(candidates, key=lambda group: (max(model.last_used for model in group), len(group)))
        for model in chosen:
            free += model.bytes
            evicted.append(model.id)
            del left[model.id]
    return evicted


def _list_leaving_together(model: Resident, left: dict[str, Resident]) -> list[Resident]:
    """The model and, for a backbone, all that runs on it, which comes first; empty if one of them must stay."""
    group = [model]
    if model.id == model.backbone:
        group = [*(other for other in left.values() if other.backbone == model.id and other is not model), model]
    return group if all(member.evictable for member in group) else []
