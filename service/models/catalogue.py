"""All models that a server can serve: added models, models in the settings, and shipped ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.errors import DiffsightError, InvalidInput, ModelNotFound
from backbones.loading.registry import ModelEntry, entries
from service.models.known import PUBLISHED
from service.settings.loader import Settings
from service.settings.model_groups import ModelTable

EMBEDDED = "pocket"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the catalogue.

    id: its name in requests. task: of the model; "" for a backbone, which serves every task that needs no weights of
    its own, and tasks whose weights ship for it. backbone: id of the backbone that it runs on, its own for a backbone.
    source: how to open a backbone; for a model of a task that was not added, the path of its weights. entry: of an
    added model of a task. pinned: never evicted. dtype: number type; "" is that of the server.
    """

    id: str
    task: str
    backbone: str
    source: str = ""
    entry: ModelEntry | None = None
    pinned: bool = False
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model before the backbone that it runs on is known.

    spec: `backbone` as the settings name it. base: kind of the backbone that it needs. kind: of an added model.
    """

    spec: ModelSpec
    base: str = ""
    kind: str = ""


def names_models(settings: Settings) -> bool:
    """Whether the settings name one backbone, or weights for it, as in version 0.1."""
    named = (settings.backbone, settings.pose.checkpoint, settings.few_shot.weights)
    return any(named) or any(getattr(settings.heads, task) for task in type(settings.heads).model_fields)


def build_catalogue(settings: Settings) -> tuple[ModelSpec, ...]:
    """Every model that these settings serve, in the order in which tasks choose among them.

    The one backbone that the settings name; else the `[[models]]` tables and all added models, or those of them that
    `models` lists; and `pocket` if none of them is a backbone.
    Raises InvalidInput for unknown names in `models`, for wrong tables, and for a model without its backbone.
    """
    if names_models(settings):
        source = settings.backbone or EMBEDDED
        return (_backbone(name_of_source(source), source, pinned=True),)
    candidates = _candidates(settings)
    if settings.models:
        candidates = [_find(name, candidates) for name in settings.models]
    if all(candidate.spec.task for candidate in candidates):
        candidates.append(_Candidate(_backbone(EMBEDDED, EMBEDDED)))
    named = {*settings.models, *(table.id for table in settings.model_tables)}
    with_backbones = [
        _with_backbone(candidate, candidates, required=candidate.spec.id in named) for candidate in candidates
    ]
    pinned = frozenset(settings.pinned_models)
    specs = [replace(spec, pinned=spec.pinned or spec.id in pinned) for spec in with_backbones if spec is not None]
    if settings.models:
        specs.sort(key=lambda spec: [*settings.models, EMBEDDED].index(spec.id))
    else:
        specs.sort(key=lambda spec: bool(spec.task))
    if unknown := pinned - {spec.id for spec in specs}:
        raise InvalidInput("pinned_models", f"{min(unknown)!r} is not served", hint=_hint(spec.id for spec in specs))
    return tuple(specs)


def names_in(settings: Settings) -> frozenset[str]:
    """Names of added models that the settings need: those that they name, and the backbones on which these run."""
    named = {settings.backbone, settings.pose.checkpoint, settings.few_shot.weights}
    named |= {getattr(settings.heads, task) for task in type(settings.heads).model_fields}
    named |= {*settings.models, *settings.pinned_models, *(table.source or table.id for table in settings.model_tables)}
    with suppress(DiffsightError):  # settings that cannot be served name models too
        catalogue = build_catalogue(settings)
        ids = {spec.backbone for spec in catalogue if spec.entry is not None and spec.entry.name in named}
        named |= {spec.source for spec in catalogue if spec.id in ids}
    return frozenset(name for name in named if name)


def old_settings(settings: Settings) -> list[str]:
    """Replacements for settings of version 0.1 that name weights: one line each."""
    named = {
        "few_shot.weights": ("few-shot", settings.few_shot.weights),
        "pose.checkpoint": ("pose", settings.pose.checkpoint),
    }
    named |= {f"heads.{task}": (task, getattr(settings.heads, task)) for task in type(settings.heads).model_fields}
    return [
        f"the setting {setting} goes with the next version: write a table [[models]] with id, "
        f"task = {task!r} and source = {source!r}"
        for setting, (task, source) in named.items()
        if source
    ]


def default_backbone(settings: Settings) -> str:
    """The backbone that a command opens by default: the first of the catalogue."""
    return settings.backbone or next(spec.source for spec in build_catalogue(settings) if not spec.task)


def choose_for(settings: Settings, task: str) -> tuple[str, str | None]:
    """The default models of a command for a task: a backbone, and a model's name, a path, or None."""
    catalogue = build_catalogue(settings)
    for spec in catalogue:
        if spec.task == task:
            backbone = next(other.source for other in catalogue if other.id == spec.backbone)
            return backbone, spec.source if spec.entry is None else spec.entry.name
    return default_backbone(settings), None


def name_of_source(source: str) -> str:
    """The id of a backbone that a setting names by a path, a hub id, or the name of an added model."""
    return Path(source).stem if Path(source).suffix in (".safetensors", ".ckpt") else Path(source).name or source


def is_backbone(entry: ModelEntry) -> bool:
    """Whether an added model is a backbone, and not fine-tuned over one."""
    return not task_of(entry)


def task_of(entry: ModelEntry) -> str:
    """The task that an added model was fine-tuned for; "" for a backbone."""
    return PUBLISHED[entry.kind].task if entry.kind in PUBLISHED else ""


def list_left_out(settings: Settings) -> list[str]:
    """Added models that cannot be served because their backbone was not added: one line each, with what to do."""
    if names_models(settings) or settings.models:
        return []
    served = {spec.id for spec in build_catalogue(settings)}
    return [
        f"{candidate.spec.id} is not served: it needs {candidate.base}; `diffsight models add {candidate.base}` "
        "brings it"
        for candidate in _candidates(settings)
        if candidate.spec.id not in served
    ]


def settings_of(spec: ModelSpec, settings: Settings) -> Settings:
    """The settings with the model's own number type."""
    return settings.model_copy(update={"dtype": spec.dtype}) if spec.dtype else settings


def settings_of_source(source: str, settings: Settings) -> Settings:
    """The settings with the number type of the backbone with this source, where they set none for all."""
    specs = (spec for spec in build_catalogue(settings) if not spec.task and spec.source == source)
    spec = next(specs, None) if settings.dtype == "auto" else None
    return settings if spec is None else settings_of(spec, settings)


def _backbone(name: str, source: str, *, pinned: bool = False) -> ModelSpec:
    return ModelSpec(name, "", name, source=source, pinned=pinned)


def _candidates(settings: Settings) -> list[_Candidate]:
    """The models of `[[models]]` tables, and added models without a table. Raises InvalidInput for a table."""
    added = {entry.name: entry for entry in entries(settings.models_path())}
    tables = settings.model_tables
    for number, table in enumerate(tables):
        if table.id in {other.id for other in tables[:number]}:
            raise InvalidInput("models", f"two [[models]] tables have the id {table.id!r}", hint="rename one")
    described = [_describe(table, added) for table in tables]
    taken = {table.source or table.id for table in tables}
    return described + [_of_entry(entry) for entry in added.values() if entry.name not in taken]


def _of_entry(entry: ModelEntry) -> _Candidate:
    if is_backbone(entry):
        return _Candidate(_backbone(entry.name, entry.name), kind=entry.kind)
    return _Candidate(ModelSpec(entry.name, task_of(entry), "", entry=entry), _base_of(entry), entry.kind)


def _base_of(entry: ModelEntry) -> str:
    return entry.base or (PUBLISHED[entry.kind].base if entry.kind in PUBLISHED else "")


def _describe(table: ModelTable, added: Mapping[str, ModelEntry]) -> _Candidate:
    """The model of a `[[models]]` table. added: added models by name."""
    where, source = f"[[models]] {table.id!r}", table.source or table.id
    entry = added.get(source)
    if entry is None and not table.source and source != EMBEDDED:
        raise ModelNotFound(f"{where} has no source, and no model of that name was added", hint=_hint(added))
    if table.id in added and table.id != source:
        raise InvalidInput("models", f"{where}: another model of that name was added", hint="choose another id")
    task = table.task or ("" if entry is None else task_of(entry))
    tasks = sorted({model.task for model in PUBLISHED.values() if model.task})
    if task and task not in tasks:
        message = f"{where}: {task!r} is not a task with weights of its own"
        raise InvalidInput("models", message, hint=f"task is one of: {', '.join(tasks)}")
    if entry is not None and task != task_of(entry):
        message = f"{where}: {source!r} is {entry.kind}, and not for {task}"
        raise InvalidInput("models", message, hint=f"leave task out, or write task = {task_of(entry)!r}")
    if not task and table.backbone:
        message = f"{where}: a backbone does not run on another backbone"
        raise InvalidInput("models", message, hint=f"add task = one of {', '.join(tasks)}, or leave backbone out")
    if task and table.dtype:
        message = f"{where}: a model of a task has the number type of its backbone"
        raise InvalidInput("models", message, hint="write dtype in the backbone's table")
    spec = ModelSpec(
        table.id,
        task,
        table.backbone if task else table.id,
        source="" if task and entry is not None else source,
        entry=entry if task else None,
        pinned=table.pinned,
        dtype=table.dtype or "",
    )
    return _Candidate(spec) if entry is None else _Candidate(spec, _base_of(entry), entry.kind)


def _with_backbone(candidate: _Candidate, candidates: Sequence[_Candidate], *, required: bool) -> ModelSpec | None:
    """A candidate over its backbone; None if that is not served and the candidate is not `required`."""
    spec = candidate.spec
    if not spec.task:
        return spec
    backbones = {other.spec.id: other for other in candidates if not other.spec.task}
    if spec.backbone and spec.backbone not in backbones:
        message = f"[[models]] {spec.id!r} runs on {spec.backbone!r}, which is not a served backbone"
        raise InvalidInput("models", message, hint=_hint(backbones))
    fitting = [other.spec for other in backbones.values() if not candidate.base or other.kind == candidate.base]
    if spec.backbone:
        chosen = backbones[spec.backbone].spec
    elif fitting and (candidate.base or len(fitting) == 1):
        chosen = fitting[0]
    elif fitting:
        message = f"[[models]] {spec.id!r} could run on each of {', '.join(backbones)}"
        raise InvalidInput("models", message, hint='write backbone = "ID" in its table')
    elif required:
        hint = f"add {candidate.base} to `models`, or add it first: diffsight models add {candidate.base}"
        raise InvalidInput("models", f"{spec.id!r} needs a backbone of the kind {candidate.base}", hint=hint)
    else:
        return None
    return replace(spec, backbone=chosen.id, dtype=chosen.dtype)


def _find(name: str, candidates: Sequence[_Candidate]) -> _Candidate:
    """The candidate that `models` names. Raises ModelNotFound if there is none."""
    by_name = {candidate.spec.id: candidate for candidate in candidates}
    if name in by_name:
        return by_name[name]
    if name == EMBEDDED:
        return _Candidate(_backbone(EMBEDDED, EMBEDDED))
    message = f"`models` names {name!r}, which is neither an added model nor described by a [[models]] table"
    raise ModelNotFound(message, hint=_hint([EMBEDDED, *by_name]))


def _hint(names: Iterable[str]) -> str:
    return f"there are: {', '.join(names)}"
