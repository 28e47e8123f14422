"""`diffsight models`: list models, and add, check and remove published ones on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import backbones.errors
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.add import add_model, find_problems
from backbones.loading.published_model import find_published
from backbones.loading.registry import ModelEntry, entries, find_entry, remove_entry
from diffsight.cli.options import AsJson, Backbone, Config
from diffsight.cli.progress_lines import progress_lines
from service.models.catalogue import build_catalogue, names_in
from service.models.known import PUBLISHED
from service.settings.loader import Settings, load_settings

if TYPE_CHECKING:
    from service.models.plan import PlannedModel

POCKET = Path(backbones.errors.__file__).parent / "pocket"

ModelsFolder = Annotated[
    Path | None, typer.Option(help="Folder where models are kept; see DIFFSIGHT_MODELS_FOLDER.", metavar="FOLDER")
]
Name = Annotated[str, typer.Argument(help="Name that `diffsight models list` shows.", show_default=False)]

models = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@models.callback()
def _models(context: typer.Context, backbone: Backbone = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    \b
    diffsight models
    diffsight models add sd15

    Download, verify, list and remove models. Without a command, list them.
    """
    if context.invoked_subcommand is None:
        list_models(backbone=backbone, config=config, as_json=as_json)


@models.command(short_help="Download or copy published models, verify and convert them.")
def add(
    kinds: Annotated[
        list[str],
        typer.Argument(
            help=f"Kinds of models: {', '.join(PUBLISHED)}. KIND=PLACE copies a model from a file, folder or hub id.",
            metavar="KIND...",
            show_default=False,
        ),
    ],
    source: Annotated[
        str,
        typer.Option("--from", help="File, folder or hub id; default: where its authors publish it.", metavar="PLACE"),
    ] = "",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    name: Annotated[
        str, typer.Option(help="Name under which the model is kept. Default: the kind.", show_default=False)
    ] = "",
    any_size: Annotated[
        bool,
        typer.Option(
            "--any-size",
            help="Accept networks with other sizes than the published ones, if the parameters' names are the same.",
        ),
    ] = False,
    models_folder: ModelsFolder = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight models add sd15
    diffsight models add sd15 vpd-depth=Downloads/vpd_depth_480x480.pth sd21 sdpose-body
    diffsight models add vpd-depth --from Downloads/vpd_depth_480x480.pth --name mine

    Download or copy published models, verify every key and shape, and keep them as safetensors. `diffsight serve`
    serves them all. An interrupted download continues where it stopped. To add a model again verifies it again.
    """
    settings = load_settings(config)
    places = read_places(kinds, source=source, name=name)
    folder = folder_of(settings, models_folder)
    with progress_on_terminal(to_stderr=as_json) as say:
        added_entries = [
            add_model(
                find_published(PUBLISHED, kind),
                folder=folder,
                source=place,
                revision=revision,
                name=name,
                any_size=any_size,
                offline=settings.offline,
                say=say,
            )
            for kind, place in announce_each(places)
        ]
    if as_json:
        answers = [describe_entry(entry) for entry in added_entries]
        typer.echo(json.dumps(answers if len(answers) > 1 else answers[0], ensure_ascii=False))
    else:
        print_next_steps(folder, added_entries)


@contextmanager
def progress_on_terminal(*, to_stderr: bool) -> Iterator[Callable[[str], None]]:
    """A function that prints a step. While a step lasts, its line is repeated as progress.

    to_stderr: whether steps go to standard error, which leaves standard output to JSON.
    """
    steps = [""]

    def say(line: str) -> None:
        steps.append(line)
        typer.echo(line, err=to_stderr)

    with progress_lines(lambda: steps[-1]):
        yield say


def announce_each(places: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The places in turn. If there are several, the number of each is printed before its work begins."""
    for number, (kind, place) in enumerate(places, start=1):
        if len(places) > 1:
            typer.echo(f"{number} of {len(places)}: {kind}", err=True)
        yield kind, place


def print_next_steps(folder: Path, added_entries: Sequence[ModelEntry]) -> None:
    """Print which base models the added models still need, and how to serve them."""
    present = {entry.kind for entry in entries(folder)}
    for entry in added_entries:
        if entry.base and entry.base not in present:
            typer.echo(f"{entry.name} needs {entry.base}: diffsight models add {entry.base}")
    typer.echo("serve what was added: diffsight serve")


def read_places(kinds: Sequence[str], *, source: str, name: str) -> list[tuple[str, str]]:
    """Kind and place of each model to add. Raises InvalidInput for an unknown kind, before anything is fetched."""
    places = []
    for text in kinds:
        kind, _, place = text.partition("=")
        find_published(PUBLISHED, kind)
        places.append((kind, place or source))
    for option, value in (("--from", source), ("--name", name)):
        if value and len(places) > 1:
            raise InvalidInput(option, f"{option} can only be used with one model", hint="write KIND=PLACE for each")
    return places


@models.command("list", short_help="List models.")
def list_models(
    models_folder: ModelsFolder = None, backbone: Backbone = None, config: Config = None, as_json: AsJson = False
) -> None:
    """
    \b
    diffsight models list

    List the embedded backbone, added models, and the models that the settings name. No model is loaded.
    """
    settings = load_settings(config, backbone=backbone)
    added = entries(folder_of(settings, models_folder))
    served = {spec.source if spec.entry is None else spec.entry.name for spec in build_catalogue(settings)}
    listed: list[dict[str, Any]] = [
        {"backbone": "pocket", "served": "pocket" in served, "found": where(POCKET), "about": card_summary(POCKET)}
    ]
    listed += [{"backbone": entry.name, "served": entry.name in served, **describe_entry(entry)} for entry in added]
    for other in sorted(served - {line["backbone"] for line in listed}):
        place, about = where(Path(other)), card_summary(Path(other))
        listed.append({"backbone": other, "served": True, "found": place, "about": about})
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    for line in listed:
        typer.echo(f"{line['backbone']}{'  (what the settings serve)' if line['served'] else ''}\n  {line['found']}")
        if line["about"]:
            typer.echo(f"  {line['about']}")


@models.command(short_help="Print how much memory models take, and which fit together.")
def plan(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of added models, or published kinds. Default: all added models.", metavar="[NAME]..."
        ),
    ] = None,
    memory: Annotated[float, typer.Option(help="Memory of the device in GB.", min=0.1, metavar="GB")] = 24.0,
    models_folder: ModelsFolder = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight models plan
    diffsight models plan sd15 vpd-depth sd21 sdpose-body --memory 12

    Print the bytes of each model for each number type, and which models fit into the memory together. Sizes come from
    the files of added models, and else from the published sizes; no model is loaded. A quarter of the memory is kept
    free for batches and caches.
    """
    # The module of the plan imports torch, which takes seconds.
    from service.models.plan import plan as plan_models

    planned = plan_models(
        choose_models(folder_of(load_settings(config), models_folder), names or ()), int(memory * 1e9)
    )
    if as_json:
        listed = [{"name": model.name, "task": model.task, "backbone": model.backbone, "bytes": dict(model.bytes)}
                  for model in planned.models]  # fmt: skip
        fitting = {name: list(fits) for name, fits in planned.fitting.items()}
        typer.echo(json.dumps({"models": listed, "budget_bytes": planned.budget_bytes, "fitting": fitting}))
        return
    for model in planned.models:
        sizes = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in model.bytes.items())
        typer.echo(f"{model.name}: {sizes}" + (f", over {model.backbone}" if model.backbone != model.name else ""))
    for name, fits in planned.fitting.items():
        total = f"{planned.total(name) / 1e9:.2f} GB"
        left = [model.name for model in planned.models if model.name not in fits]
        verdict = (
            "all fit together"
            if not left
            else f"these fit together: {', '.join(fits) or 'none'}; {', '.join(left)} wait"
        )
        typer.echo(f"{name}: {total} of {planned.budget_bytes / 1e9:.2f} GB for weights; {verdict}")


def choose_models(folder: Path, names: Sequence[str]) -> list[PlannedModel]:
    """Models by names of the folder or published kinds; all of the folder without names.

    Raises ModelNotFound for another name, or for a folder without models.
    """
    from service.models.plan import plan_entry, plan_published

    present = {entry.name: entry for entry in entries(folder)}
    names = names or list(present)
    if unknown := [name for name in names if name not in present and name not in PUBLISHED]:
        raise ModelNotFound(
            f"{unknown[0]!r} is neither an added nor a published model", hint=f"published are: {', '.join(PUBLISHED)}"
        )
    if not names:
        raise ModelNotFound(
            f"no models were added in {folder}",
            hint=f"add models first, or name published ones: {', '.join(PUBLISHED)}",
        )
    by_kind = {present[name].kind if name in present else name: name for name in reversed(names)}
    planned = []
    for name in names:
        model = plan_entry(present[name]) if name in present else plan_published(name)
        planned.append(replace(model, backbone=by_kind.get(model.backbone, model.backbone)))
    return planned


@models.command(short_help="Verify added models again.")
def check(
    name: Annotated[
        str | None, typer.Argument(help="Name of a model. Default: all models.", show_default=False)
    ] = None,
    models_folder: ModelsFolder = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight models check
    diffsight models check sd15

    Compute the hash of every file, and verify every key and shape again. The exit status is 1 if something is wrong.
    """
    folder = folder_of(load_settings(config), models_folder)

    chosen = entries(folder) if name is None else [find_added(folder, name)]
    wrong_by_name: dict[str, list[str]] = {}
    with progress_lines(lambda: f"checking, {len(wrong_by_name)} of {len(chosen)} models"):
        for entry in chosen:
            wrong_by_name[entry.name] = find_problems(entry, PUBLISHED)
    if as_json:
        typer.echo(json.dumps(wrong_by_name, ensure_ascii=False))
    else:
        for model, wrong in wrong_by_name.items():
            typer.echo(f"{model}: {'verified' if not wrong else ''}".rstrip())
            for line in wrong:
                typer.echo(f"  {line}")
        if not wrong_by_name:
            typer.echo(f"no models were added in {folder}")
    if any(wrong_by_name.values()):
        raise typer.Exit(1)


@models.command(short_help="Delete an added model.")
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete it even if the settings serve it.")] = False,
    models_folder: ModelsFolder = None,
    config: Config = None,
) -> None:
    """
    \b
    diffsight models remove sd15

    Delete an added model, after a question. A model that the settings serve is only deleted with --force.
    """
    if name == "pocket":
        raise InvalidInput("name", "pocket is part of the package and can not be removed")
    settings = load_settings(config)
    folder = folder_of(settings, models_folder)
    try:
        size = f"{find_added(folder, name).bytes / 1e9:.2f} GB"
    except backbones.errors.CheckpointError:
        size = "its entry can not be read"  # a damaged model can be removed too
    if name in names_in(settings) and not force:
        raise InvalidInput("name", f"the settings serve {name!r}", hint="change the settings first, or give --force")
    if not yes:
        for line in list_dependents(folder, name):
            typer.echo(line, err=True)
        typer.confirm(f"Delete {name} ({size}) in {folder / name}?", abort=True)
    remove_entry(folder, name)
    typer.echo(f"{name} is removed")


def list_dependents(folder: Path, name: str) -> list[str]:
    """Models that cannot be served without this one, one line each."""
    present = {entry.name: entry for entry in entries(folder)}
    kind = present[name].kind if name in present else ""
    if not kind or any(entry.kind == kind for entry in present.values() if entry.name != name):
        return []
    return [
        f"{entry.name} runs on {name}, and is not served without it" for entry in present.values() if entry.base == kind
    ]


def folder_of(settings: Settings, option: Path | None) -> Path:
    """The folder of models: the option's, else the setting's, else the default."""
    return option.expanduser() if option else settings.models_path()


def find_added(folder: Path, name: str) -> ModelEntry:
    """The entry of a name. Raises ModelNotFound if there is none."""
    entry = find_entry(folder, name)
    if entry is None:
        names = ", ".join(file.parent.name for file in sorted(folder.glob("*/model.json"))) or "none"
        raise ModelNotFound(f"no model {name!r} was added in {folder}", hint=f"there are: {names}")
    return entry


def describe_entry(entry: ModelEntry) -> dict[str, Any]:
    """An entry as JSON and tables show it."""
    kind = PUBLISHED.get(entry.kind)
    base = f", over {kind.base}" if kind and kind.base else ""
    return {
        "name": entry.name,
        "kind": entry.kind,
        "found": f"added in {entry.folder}",
        "about": f"{entry.kind}{base}, {entry.dtype}, {entry.bytes / 1e9:.2f} GB, from {entry.source}; {entry.licence}",
        "source": entry.source,
        "revision": entry.revision,
        "commit": entry.commit,
        "dtype": entry.dtype,
        "bytes": entry.bytes,
        "added": entry.added,
        "licence": entry.licence,
        "files": {path: {"bytes": file.bytes, "sha256": file.sha256} for path, file in entry.files.items()},
    }


def where(source: Path) -> str:
    """The kind of a backbone's source, with its path."""
    if (source / "model_index.json").is_file():
        return f"diffusers folder {source}"
    if source.is_file():
        return f"checkpoint file {source}"
    if source.exists():
        return f"{source} is there, but is no diffusers folder"
    return "not a file or folder here: taken as a hub id, and downloaded at start-up unless it is in the hub cache"


def card_summary(folder: Path) -> str:
    """The first paragraph of the folder's model card, empty if it has none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n"):
        text = text.partition("---\n")[2].partition("\n---\n")[2]
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return next((part for part in paragraphs if part and not part.startswith(("#", "```", "|", "!["))), "")
