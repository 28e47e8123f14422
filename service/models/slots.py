"""One model of the catalogue with its state, its users and its memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from backbones.backbone import Backbone, Description
from backbones.errors import ModelNotFound
from backbones.stable_diffusion import StableDiffusion, Variant, share_equal_parameters
from heads.task import Task, no_weights
from service.models.catalogue import EMBEDDED, ModelSpec, settings_of
from service.models.loading import OpenHeads, open_served
from service.models.residency import Resident
from service.models.sizes import bytes_by_owner
from service.settings.loader import Settings

AnyTask = Task[Any, Any, Any]
SlotState = Literal["READY", "LOADING", "UNAVAILABLE"]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A task's model, open. head: what the task's `open` returned. model: the network that it runs on."""

    task: AnyTask
    id: str
    head: Any
    model: Backbone

    @property
    def backbone(self) -> Description:
        """The network's description."""
        return self.model.description


@dataclass(slots=True, eq=False)
class Slot:
    """The state of a model of the catalogue, and the parts of it that are loaded.

    reason: why it is UNAVAILABLE. failure: the error of its last load.
    users: number of leases on it. long: number of those that jobs hold.
    bytes: device memory, measured or expected. last_used, loaded_at: seconds of a monotonic clock.
    load_seconds: duration of its last load. loads: number of loads. loads_from_host: those from weights in host memory.
    heads: of a backbone, its open heads. head, variants: of a task's model, its open head and the names of the U-Nets
    that it added to its backbone.
    description, serves: of a backbone; its first load sets them, and they stay when it is unloaded.
    draining: it takes no new users, and is unloaded when the last one ends. loading: its load, which all requests for
    it await. reading: there is room for it, and its weights are being read.
    """

    spec: ModelSpec
    state: SlotState = "UNAVAILABLE"
    reason: str = "not loaded yet"
    failure: BaseException | None = None
    users: int = 0
    long: int = 0
    bytes: int = 0
    last_used: float = 0.0
    loaded_at: float = 0.0
    load_seconds: float = 0.0
    loads: int = 0
    loads_from_host: int = 0
    heads: OpenHeads | None = None
    head: Any = None
    variants: tuple[str, ...] = ()
    description: Description | None = None
    serves: frozenset[str] | None = None
    draining: bool = False
    loading: asyncio.Task[None] | None = None
    reading: bool = False

    def may_serve(self, task: AnyTask) -> bool:
        """Whether a request for the task can run on this model, as far as is known before it is loaded."""
        if self.spec.task:
            return self.spec.task == task.name
        if self.serves is not None:
            return task.name in self.serves
        return task.shipped is no_weights or self.spec.source == EMBEDDED

    def is_open(self) -> bool:
        """Whether anything of it is in memory."""
        return self.heads is not None or self.head is not None

    def may_leave(self) -> bool:
        """Whether it can leave now."""
        return self.state == "READY" and not self.users and not self.spec.pinned

    def may_drain(self) -> bool:
        """Whether it can be unloaded after its current users end; a job's end would take too long."""
        return self.state == "READY" and not self.long and not self.spec.pinned

    @property
    def revision(self) -> str:
        """Of a backbone's weights; "" until it was loaded, and for others."""
        return "" if self.description is None else self.description.revision

    def variant_names(self) -> tuple[str, ...]:
        """Names of the U-Nets beside the backbone's own, of an open backbone."""
        return () if self.heads is None else self.heads.backbone.description.variants

    def open_for(self, task: AnyTask, backbone: Slot) -> Loaded:
        """The open model for one of its tasks. Raises ModelNotFound if a backbone turns out to have none."""
        assert backbone.heads is not None
        head = self.head if self.spec.task else backbone.heads.require(task)
        return Loaded(task, self.spec.id, head, backbone.heads.backbone)

    def close(self, backbone: Slot, reason: str) -> tuple[Any, dict[str, Variant]]:
        """Release everything that was loaded. Returns it: heads or a head, and the U-Nets that it added."""
        left = self.head if self.spec.task else self.heads
        variants: dict[str, Variant] = {}
        if backbone is not self and backbone.heads is not None and isinstance(backbone.heads.backbone, StableDiffusion):
            model = backbone.heads.backbone
            variants = {name: model.variants[name] for name in self.variants if name in model.variants}
            for name in variants:
                model.remove_variant(name)
        self.heads, self.head, self.variants = None, None, ()
        self.state, self.reason, self.draining = "UNAVAILABLE", reason, False
        return left, variants

    def as_resident(self, *, evictable: bool) -> Resident:
        """The slot as input of `choose_evictions`."""
        return Resident(self.spec.id, self.spec.backbone, self.bytes, self.last_used, evictable)


def networks_of(backbone: Backbone) -> dict[str, nn.Module]:
    """Every network of a backbone: its parts, and each U-Net by the name of its variant behind a colon."""
    parts = {name: part for name, part in vars(backbone).items() if isinstance(part, nn.Module)}
    variants = backbone.variants if isinstance(backbone, StableDiffusion) else {}
    return parts | {f":{name}": variant.unet for name, variant in variants.items()}


def open_backbones(slots: Iterable[Slot]) -> list[Backbone]:
    """The backbones that are open."""
    return [slot.heads.backbone for slot in slots if slot.heads is not None]


def networks_in(head: Any) -> Iterator[nn.Module]:
    """The networks of a task's head, also in nested objects."""
    if isinstance(head, nn.Module):
        yield head
    elif is_dataclass(head):
        for part in fields(head):
            yield from networks_in(getattr(head, part.name))


def measure(slots: Iterable[Slot]) -> dict[str, int]:
    """Device bytes of each open model by its id; memory that several share counts for the first of them."""
    owned: list[tuple[str, nn.Module]] = []
    models = list(slots)
    for slot in models:
        if slot.heads is not None:
            added = {
                f":{name}": other.spec.id
                for other in models
                if other.spec.backbone == slot.spec.id
                for name in other.variants
            }
            networks = sorted(networks_of(slot.heads.backbone).items(), key=lambda named: named[0] in added)
            owned += [(added.get(name, slot.spec.id), network) for name, network in networks]
    for slot in models:
        owned += [(slot.spec.id, network) for network in networks_in(slot.head)]
    return bytes_by_owner(owned)


def read_model(slot: Slot, slots: Mapping[str, Slot], settings: Settings, tasks: Iterable[AnyTask]) -> Any:
    """Read a model's weights; blocks, on a thread of its own. Returns what `install` takes.

    Parts of a backbone that equal those of another open one are shared. Raises the errors of opening a backbone or a
    head.
    """
    if not slot.spec.task:
        own = settings_of(slot.spec, settings)
        model = open_served(own, slot.spec.source)
        share_parts(model, slots.values())
        heads = OpenHeads(own, model, tasks)
        heads.open_all()
        return heads
    backbone = slots[slot.spec.backbone]
    assert backbone.heads is not None
    task = next(task for task in tasks if task.name == slot.spec.task)
    if slot.spec.entry is not None:
        return backbone.heads.open_added(task, slot.spec.entry)
    return backbone.heads.open_added(task, Path(slot.spec.source).expanduser(), name=slot.spec.id)


def install(slot: Slot, backbone: Slot, opened: Any, variants_before: Sequence[str]) -> None:
    """Put a model that was read into its slot."""
    if slot.spec.task:
        assert backbone.heads is not None
        slot.head = opened
        slot.variants = tuple(set(backbone.heads.backbone.description.variants) - set(variants_before))
        return
    slot.heads = opened
    slot.description = opened.backbone.description
    slot.serves = frozenset(name for name, task in opened.tasks.items() if opened.find(task) is not None)


def share_parts(model: Backbone, slots: Iterable[Slot]) -> None:
    """Share the VAE and the text encoder of a backbone with another open one if they are equal."""
    for other in open_backbones(slots):
        if isinstance(model, StableDiffusion) and isinstance(other, StableDiffusion):
            share_equal_parameters(other.vae, model.vae)
            share_equal_parameters(other.text_encoder, model.text_encoder)


def add_variants(model: Backbone, variants: Mapping[str, Variant]) -> None:
    """Add U-Nets that the backbone had before; tensors equal to its own are shared again."""
    for name, variant in variants.items():
        assert isinstance(model, StableDiffusion)
        model.add_variant(name, variant)


def find_slot(slots: Mapping[str, Slot], name: str) -> Slot:
    """The slot of this id. Raises ModelNotFound for another."""
    if name not in slots:
        raise ModelNotFound(f"this server has no model {name[:100]!r}", hint=f"its models are: {', '.join(slots)}")
    return slots[name]


def choose_slot(slots: Mapping[str, Slot], task: AnyTask, model: str | None = None) -> Slot:
    """The model for a request of `task`: the one that it names, else the first that serves the task and did not fail to
    load.

    Raises ModelNotFound if no model, or not the named one, serves the task.
    """
    able = [slot for slot in slots.values() if slot.may_serve(task)]
    if model is not None:
        chosen = find_slot(slots, model)
        if chosen not in able:
            names = ", ".join(slot.spec.id for slot in able) or "none"
            raise ModelNotFound(f"the model {model!r} does not serve {task.name}", hint=f"models that do: {names}")
        return chosen
    if able:
        return min(able, key=lambda slot: slot.failure is not None)
    for slot in slots.values():
        if slot.heads is not None and task.name in slot.heads.missing:
            raise slot.heads.missing[task.name]()
    raise ModelNotFound(f"no model of this server serves {task.name}", hint="add one with `diffsight models add`")


def describe_progress(slots: Iterable[Slot]) -> str:
    """The progress of loading, to append to a message; "" before loading begins."""
    models = list(slots)
    loading = [
        f"{slot.spec.id} ({slot.bytes / 1e9:.2f} GB: {slot.reason})" for slot in models if slot.state == "LOADING"
    ]
    if not loading:
        return ""
    done = [slot for slot in models if slot.state == "READY"]
    return f": {', '.join(loading)}; {len(done)} of {len(models)} models are loaded"
