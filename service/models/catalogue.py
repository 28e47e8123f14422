"""What a server can serve: every model as one row, from what was added, what the settings name, and what ships."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.registry import Entry, default_folder, entries, find_entry
from service.models.known import PUBLISHED
from service.settings.loader import Settings

EMBEDDED = "pocket"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the catalogue.

    id: what requests name. task: the one that it is for; "" for a backbone, which serves every task that needs no
    weights of its own, and those whose weights ship for it. backbone: id of the backbone that it runs on, its own for a
    backbone. source: what opens a backbone. entry: what was added, for a model of a task. pinned: never evicted.
    """

    id: str
    task: str
    backbone: str
    source: str = ""
    entry: Entry | None = None
    pinned: bool = False


def names_models(settings: Settings) -> bool:
    """Whether the settings name one backbone, or weights for it, in the way of version 0.1."""
    named = (settings.backbone, settings.pose.checkpoint, settings.few_shot.weights)
    return any(named) or any(getattr(settings.heads, task) for task in type(settings.heads).model_fields)


def build_catalogue(settings: Settings) -> tuple[ModelSpec, ...]:
    """Every model that these settings serve, in the order in which tasks choose among them.

    One backbone that the settings name, else all that was added, or of that what `models` lists, else `pocket`.
    Raises InvalidInput for names of `models` that are none, and for a model without its backbone.
    """
    if names_models(settings):
        source = settings.backbone or EMBEDDED
        return (_backbone(name_of_source(source), source, pinned=True),)
    folder = (settings.models_folder or default_folder()).expanduser()
    added = entries(folder)
    if settings.models:
        added = [_find(folder, name, added) for name in settings.models if name != EMBEDDED]
    shipped = EMBEDDED in settings.models or not any(is_backbone(entry) for entry in added)
    names = [entry.name for entry in added if is_backbone(entry)] + ([EMBEDDED] if shipped else [])
    pinned = frozenset(settings.pinned_models)
    backbones = [_backbone(name, name, pinned=name in pinned) for name in names]
    specs = [*backbones, *_models_of_tasks(added, settings.models, pinned)]
    if settings.models:
        specs.sort(key=lambda spec: settings.models.index(spec.id))
    if unknown := pinned - {spec.id for spec in specs}:
        raise InvalidInput("pinned_models", f"{min(unknown)!r} is not served", hint=_hint(spec.id for spec in specs))
    return tuple(specs)


def default_backbone(settings: Settings) -> str:
    """What a command opens where none is named: the first backbone of the catalogue."""
    return settings.backbone or next(spec.source for spec in build_catalogue(settings) if not spec.task)


def choose_for(settings: Settings, task: str) -> tuple[str, str | None]:
    """What a command opens for a task where it names nothing: a backbone, and the name of an added model or None."""
    catalogue = build_catalogue(settings)
    for spec in catalogue:
        if spec.task == task:
            return next(other.source for other in catalogue if other.id == spec.backbone), spec.id
    return default_backbone(settings), None


def name_of_source(source: str) -> str:
    """The id of a backbone that a setting names by a path, a hub id, or the name of an added model."""
    return Path(source).stem if Path(source).suffix in (".safetensors", ".ckpt") else Path(source).name or source


def is_backbone(entry: Entry) -> bool:
    """Whether an added model is a backbone, and not fine-tuned over one."""
    return not task_of(entry)


def task_of(entry: Entry) -> str:
    """The task that an added model was fine-tuned for; "" for a backbone."""
    return PUBLISHED[entry.kind].task if entry.kind in PUBLISHED else ""


def _backbone(name: str, source: str, *, pinned: bool) -> ModelSpec:
    return ModelSpec(name, "", name, source=source, pinned=pinned)


def _models_of_tasks(added: Sequence[Entry], named: Sequence[str], pinned: frozenset[str]) -> list[ModelSpec]:
    """The added models of tasks, each over the first added backbone of the kind that it was fine-tuned from."""
    specs = []
    for entry in added:
        if is_backbone(entry):
            continue
        base = entry.base or (PUBLISHED[entry.kind].base if entry.kind in PUBLISHED else "")
        backbone = next((other.name for other in added if other.kind == base), None)
        if backbone is None:
            if named:
                hint = f"add {base} to `models`, or add it first: diffsight models add {base}"
                raise InvalidInput("models", f"{entry.name!r} needs a backbone of the kind {base}", hint=hint)
            continue
        specs.append(ModelSpec(entry.name, task_of(entry), backbone, entry=entry, pinned=entry.name in pinned))
    return specs


def left_out(settings: Settings) -> list[str]:
    """What was added and cannot be served, as its backbone was not: one line each, with what to do."""
    if names_models(settings) or settings.models:
        return []
    added = entries((settings.models_folder or default_folder()).expanduser())
    served = {spec.id for spec in build_catalogue(settings)}
    return [
        f"{entry.name} is not served: it needs {entry.base}; `diffsight models add {entry.base}` brings it"
        for entry in added
        if entry.name not in served
    ]


def _find(folder: Path, name: str, added: Iterable[Entry]) -> Entry:
    entry = find_entry(folder, name)
    if entry is None:
        names = [EMBEDDED, *(other.name for other in added)]
        raise ModelNotFound(f"`models` names {name!r}, which was not added", hint=_hint(names))
    return entry


def _hint(names: Iterable[str]) -> str:
    return f"there are: {', '.join(names)}"
