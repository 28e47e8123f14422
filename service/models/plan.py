"""How much memory models need, computed before loading, and which fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

import heads.diffews.published_keys
import heads.marigold.published
import heads.sdpose.published_keys
import heads.vpd.published_keys
from backbones.loading.published import SIZES
from backbones.loading.published_keys import Shapes
from backbones.loading.registry import ModelEntry
from service.models.catalogue import task_of
from service.models.known import PUBLISHED
from service.models.number_types import IN_FULL
from service.models.sizes import bytes_of_folder

# Networks of SD 2.1's U-Net with a first convolution of their own, from 8 channels to 320 with 3 x 3.
_WIDER = frozenset(model.kind for model in heads.marigold.published.PUBLISHED)
_WIDER_INPUT = 8 * 320 * 9 + 320

NUMBER_TYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "half": torch.float16}
"""`half` is float16 and bfloat16."""
AUTO = "auto"
"""The number type of `dtype=auto` on a GPU."""

# A server's default: the rest is for batches and caches.
SHARE_FOR_WEIGHTS = 0.75


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """One model. backbone: the name that it runs on; its own for a backbone. bytes: by number type."""

    name: str
    task: str
    backbone: str
    bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Which models fit into a budget, in the order of the models. together: whether all fit."""

    models: tuple[PlannedModel, ...]
    fitting: Mapping[str, tuple[str, ...]]
    budget_bytes: int

    def total(self, number_type: str) -> int:
        """Bytes of all models."""
        return sum(model.bytes[number_type] for model in self.models)

    def together(self, number_type: str) -> bool:
        """Whether all of them fit at the same time."""
        return len(self.fitting[number_type]) == len(self.models)


def count_published_values(kind: str) -> int:
    """How many values a published model holds on the device, its head with it."""
    if kind in _WIDER:
        return SIZES["sd21"]["unet"] + _WIDER_INPUT
    if kind in SIZES:
        return sum(SIZES[kind].values())
    return sum(math.prod(shape) for shapes in _NETWORKS[kind]() for shape in shapes.values())


def plan_published(kind: str) -> PlannedModel:
    """A published model, by its published sizes."""
    model, values = PUBLISHED[kind], count_published_values(kind)
    sizes = {name: values * dtype.itemsize for name, dtype in NUMBER_TYPES.items()}
    return PlannedModel(kind, model.task, model.base or kind, sizes)


def plan_entry(entry: ModelEntry, backbone: str = "") -> PlannedModel:
    """A model that was added, by the headers of its files. backbone: name of the entry that it runs on."""
    sizes = {name: bytes_of_folder(entry.weights, dtype) for name, dtype in NUMBER_TYPES.items()}
    base = PUBLISHED[entry.kind].base if entry.kind in PUBLISHED else entry.base
    return PlannedModel(entry.name, task_of(entry), backbone or base or entry.name, sizes)


def plan(models: Sequence[PlannedModel], memory_bytes: int) -> MemoryPlan:
    """Which of `models` fit into a device's memory, with room for batches.

    They are added in their order, a model of a task only if its backbone fits too.
    """
    budget = int(SHARE_FOR_WEIGHTS * memory_bytes)
    in_full = {model.backbone for model in models if model.task in IN_FULL}
    models = [_with_auto(model, in_full=model.backbone in in_full) for model in models]
    fitting = {name: _fit(models, budget, name) for name in (AUTO, *NUMBER_TYPES)}
    return MemoryPlan(tuple(models), fitting, budget)


def _with_auto(model: PlannedModel, *, in_full: bool) -> PlannedModel:
    return replace(model, bytes={AUTO: model.bytes["float32" if in_full else "half"], **model.bytes})


def _fit(models: Sequence[PlannedModel], budget: int, number_type: str) -> tuple[str, ...]:
    by_name = {model.name: model for model in models}
    chosen: dict[str, int] = {}
    for model in models:
        group = [by_name[name] for name in (model.backbone, model.name) if name in by_name]
        added = {member.name: member.bytes[number_type] for member in group if member.name not in chosen}
        if sum(chosen.values()) + sum(added.values()) <= budget:
            chosen |= added
    return tuple(name for name in by_name if name in chosen)


def _dense(task: str) -> Callable[[], list[Shapes]]:
    keys = heads.vpd.published_keys
    return lambda: [keys.unet_keys(task), keys.head_keys(task)]


def _pose(skeleton: str) -> Callable[[], list[Shapes]]:
    keys = heads.sdpose.published_keys
    return lambda: [keys.unet_keys(), keys.head_keys(skeleton)]


_NETWORKS: Mapping[str, Callable[[], list[Shapes]]] = {
    **{f"vpd-{task}": _dense(task) for task in ("depth", "segmentation", "referring")},
    **{f"sdpose-{skeleton}": _pose(skeleton) for skeleton in ("body", "wholebody")},
    "diffews": lambda: [heads.diffews.published_keys.unet_keys()],
}
