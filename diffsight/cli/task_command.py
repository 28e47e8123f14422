"""A task as a command: options from the fields of its options, and a file option for each of its forms."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.files import write_file
from diffsight.cli.local import open_engine, open_head, progress, read_image
from diffsight.cli.options import SETTINGS_OPTIONS, AsJson, keyword_option, set_parameters
from diffsight.cli.output_files import OutputFiles
from heads.inputs import DecodedImage, InputCounts, Inputs
from heads.task import CommaSeparated, Form
from service.inputs.names import readable_name, terminal_text
from service.inputs.request_body import bare_type, fields_of, union_members
from service.library.library import Library
from service.library.store import Stamp, Store
from service.models.catalogue import choose_for
from service.settings.loader import Settings, load_settings
from service.tasks import AnyTask

_Images = Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE", show_default=False)]
_Support = Annotated[list[Path], typer.Option(help="Support image. Repeat the option for several.")]
_Mask = Annotated[
    list[Path],
    typer.Option(
        help="Mask of a support image, with the object in white. Repeat the option, one mask for each support image."
    ),
]
_Out = Annotated[Path | None, typer.Option(help="File to write, in the form of its suffix.", metavar="PATH")]
_Weights = Annotated[str | None, typer.Option(help="The task's weights: a path, or a name of `diffsight models list`.")]

# Suffix of the name of an option that takes a list as one value, separated by commas.
_IN_ONE = ","
_SUFFIXES = {"image/png": ".png", "application/x-npy": ".npy", "application/json": ".json"}


class LocalClassifiers(Store):
    """The classifiers of this machine, and any file that a server exported or `diffsight fit classifier` wrote."""

    def file(self, thing: str) -> tuple[bytes, Stamp]:
        """The file at a path, else the stored one with an id. Raises NothingStored if there is none."""
        path = Path(thing)
        return (path.read_bytes(), (0, 0, 0)) if path.is_file() else super().file(thing)


def make_group(tasks: tuple[AnyTask, ...]) -> typer.Typer:
    """The commands of the tasks, in their order."""
    help_text = "\b\ndiffsight predict zero-shot cat.jpg --labels cat,dog\n\nRun a task here, without a server."
    group = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=help_text)
    group.callback()(lambda: None)
    for task in tasks:
        group.command(task.name, short_help=f"{task.summary}.", help=_help(task))(make_command(task))
    return group


def _help(task: AnyTask) -> str:
    example = f"diffsight predict {task.name} photo.jpg"
    if task.inputs == "image_supports":
        example += " --support cup.jpg --mask cup.png"
    example += "".join(f" {_example_flag(task, name)}" for name, field in task.options.model_fields.items()
                       if field.is_required())  # fmt: skip
    pictures = [name for name, form in task.forms.items() if form.media_type == "image/png"]
    example += f" --{_to_dashes(pictures[-1])} out.png" if pictures else ""
    return (
        f"\b\n{example}\n\n{task.summary}: {task.source}. An image that cannot be read is named on standard error, the "
        "others are still answered, and the exit status is 2."
    )


def _example_flag(task: AnyTask, name: str) -> str:
    value = task.example.get(name, "...")
    text = ",".join(value) if isinstance(value, list) else json.dumps(value) if isinstance(value, dict) else str(value)
    return f"--{_to_dashes(name)} '{text}'"


def make_command(task: AnyTask) -> Callable[..., None]:
    """A function with an option for each field of the task's options, and one for each file that it can write."""
    flags = _option_parameters(task)
    writers = {name: form for name, form in task.forms.items() if form.write is not None}
    supports = task.inputs == "image_supports"

    def command(**values: Any) -> None:
        settings = load_settings(
            values["config"], backbone=values["backbone"], device=values["device"], dtype=values["dtype"]
        )
        options = _read_options(task, {flag: values[parameter.name] for flag, parameter in flags.items()})
        wanted = {name: values[f"form_{name}"] for name in writers if values[f"form_{name}"] is not None}
        if values.get("out") is not None:
            wanted.setdefault(_choose_form(values["out"], task, writers), values["out"])
        run_command(
            task,
            values["images"],
            options,
            settings,
            supports=(values["support"], values["mask"]) if supports else ((), ()),
            files=wanted,
            weights=values["weights"],
            as_json=values["as_json"],
        )

    parameters = [
        keyword_option("images", _Images),
        *([keyword_option("support", _Support, ()), keyword_option("mask", _Mask, ())] if supports else ()),
        *flags.values(),
        *_file_parameters(writers),
        keyword_option("weights", _Weights, None),
        *(keyword_option(name, option, None) for name, option in SETTINGS_OPTIONS.items()),
        keyword_option("as_json", AsJson, False),
    ]
    return set_parameters(command, parameters)


def _file_parameters(writers: Mapping[str, Form]) -> list[inspect.Parameter]:
    """An option for each form that can be written, and --out for the form that a file's suffix names."""
    if not writers:
        return []
    parameters = []
    for name, form in writers.items():
        option = typer.Option(f"--{_to_dashes(name)}", help=f"File or folder to write: {form.about}.", metavar="PATH")
        parameters.append(keyword_option(f"form_{name}", Annotated[Path | None, option], None))
    return [*parameters, keyword_option("out", _Out, None)]


def run_command(
    task: AnyTask,
    paths: Sequence[Path],
    options: Any,
    settings: Settings,
    *,
    supports: tuple[Sequence[Path], Sequence[Path]] = ((), ()),
    files: dict[str, Path] | None = None,
    weights: str | None = None,
    as_json: bool = False,
) -> None:
    """Run the task on each image: print a line, and write the requested files. files: form -> file or folder.

    Tasks that take several images get all of them at once. Exits with status 2 if an image could not be read.
    """
    support_images = [read_image(path, settings) for path in supports[0]]
    support_masks = [read_image(path, settings) for path in supports[1]]
    pictures, failed = _read_images(paths, settings)
    if not pictures:
        raise typer.Exit(2)
    source = None
    if weights is None:
        source, weights = choose_for(settings, task.name)
    engine = open_engine(settings, source, classes=task.name in ("zero-shot", "label-tree"), tasks=[task.name])
    head = open_head(settings, engine, task, weights)
    groups = [pictures] if task.inputs == "images" else [[picture] for picture in pictures]
    counts = InputCounts(len(groups[0]), len(support_images), len(support_masks))
    options = task.complete(options, head, counts, settings.limits)
    if task.prepare is not None:
        library = Library(settings)
        library.classifiers = LocalClassifiers(settings.data_path(), "classifier", most_bytes=settings.data_bytes)
        head = task.prepare(head, options, library)
    for name in files or {}:
        if (check := task.forms[name].check) is not None:
            check(options, head)
    outputs = OutputFiles([path for path, _ in pictures])
    for group in progress(groups):
        inputs = Inputs([image for _, image in group], support_images, support_masks)
        result: Any = complete(_run(task, engine, head, inputs, options))
        written = _write_files(
            task, result, inputs, options, files or {}, group[0][0], outputs, several=len(groups) > 1
        )
        _print_result(task, result, head, options, [path for path, _ in group], written, as_json=as_json)
    if failed:
        raise typer.Exit(2)


def _choose_form(file: Path, task: AnyTask, writers: Mapping[str, Form]) -> str:
    """The one form that is written with the suffix of the file. Raises InvalidInput if there is none, or several."""
    suffixes = {name: _SUFFIXES.get(form.media_type, "") for name, form in writers.items()}
    able = [name for name, suffix in suffixes.items() if suffix == file.suffix.lower()]
    if len(able) != 1:
        flags = ", ".join(f"--{_to_dashes(name)} {file.stem}{suffixes[name]}" for name in able or suffixes)
        message = f"{task.name} writes {'several forms' if able else 'no form'} with the suffix {file.suffix!r}"
        raise InvalidInput("--out", message, hint=f"choose one: {flags}")
    return able[0]


async def _run(task: AnyTask, engine: DirectEngine, head: Any, inputs: Inputs, options: Any) -> Any:
    return await task.run(engine, head, inputs, options, None)


def _read_images(paths: Sequence[Path], settings: Settings) -> tuple[list[tuple[Path, DecodedImage]], int]:
    """The readable images, and the number of the others, which are named on standard error."""
    pictures, failed = [], 0
    for path in paths:
        try:
            pictures.append((path, read_image(path, settings)))
        except InvalidInput as error:
            typer.echo(terminal_text(f"diffsight: {path}: {error}"), err=True)
            failed += 1
    return pictures, failed


def _write_files(
    task: AnyTask,
    result: Any,
    inputs: Inputs,
    options: Any,
    files: dict[str, Path],
    image: Path,
    outputs: OutputFiles,
    *,
    several: bool,
) -> list[Path]:
    """Write each requested form: to the path itself, or into the folder of that name if there are several images."""
    written = []
    for name, place in files.items():
        form = task.forms[name]
        assert form.write is not None
        inside = several or place.is_dir() or not place.suffix
        file = outputs.choose(place, image, _SUFFIXES.get(form.media_type, "")) if inside else place
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, form.write(result, inputs, options))
        except OSError as error:
            flag = f"--{_to_dashes(name)}"
            raise InvalidInput(flag, f"{file} cannot be written: {error.strerror}", hint="name another file") from error
        written.append(file)
    return written


def _print_result(
    task: AnyTask, result: Any, head: Any, options: Any, paths: list[Path], written: list[Path], *, as_json: bool
) -> None:
    names = [readable_name(str(path)) for path in paths]
    if as_json:
        answer = task.to_answer(result, head, options).model_dump(mode="json")
        shown = {"images": names} if task.inputs == "images" else {"image": names[0]}
        typer.echo(
            json.dumps({**shown, **answer, "files": [readable_name(str(file)) for file in written]}, ensure_ascii=False)
        )
        return
    arrow = f"  -> {', '.join(map(str, written))}" if written else ""
    line = f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}: {task.to_text(result)}{arrow}"
    typer.echo(terminal_text(line))


def _read_options(task: AnyTask, values: dict[str, Any]) -> Any:
    """The task's options from the command's values. Raises InvalidInput, about the flag, for a wrong value."""
    pairs: list[tuple[str, str]] = []
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        if isinstance(value, bool | int | float):
            fields[name] = value
        elif isinstance(value, list):
            pairs += [(name, text) for text in value]
        elif name.endswith(_IN_ONE):
            pairs += [(name.removesuffix(_IN_ONE), part.strip()) for part in value.split(",") if part.strip()]
        else:
            pairs.append((name, _read_text(value)))
    try:
        return task.options.model_validate(fields | _split_boxes(task, fields_of(task.options, pairs)))
    except ValidationError as error:
        raise _about_flag(error, task, pairs) from error


def _about_flag(error: ValidationError, task: AnyTask, pairs: list[tuple[str, str]]) -> InvalidInput:
    """The first error, with the flag and its value."""
    first = error.errors(include_url=False)[0]
    name, *place = first["loc"] or (first.get("ctx", {}).get("field", ""),)
    texts = [text for field, text in pairs if field == name]
    hint = f"see diffsight predict {task.name} --help"
    if not name:
        return InvalidInput(task.name, first["msg"], hint=hint)
    item = place[0] if place and isinstance(place[0], int) and place[0] < len(texts) else None
    flag = f"--{_to_dashes(str(name) if item is None else _singular(str(name)))}"
    value = repr(texts[item]) if item is not None else repr(texts[0]) if len(texts) == 1 else None
    return InvalidInput(flag, f"{value}: {first['msg']}" if value else first["msg"], hint=hint)


def _read_text(text: str) -> str:
    """The text itself, or the content of the JSON file that it names."""
    path = Path(text)
    if path.suffix == ".json" and path.is_file():
        return path.read_text(encoding="utf-8")
    return text


def _split_boxes(task: AnyTask, fields: dict[str, Any]) -> dict[str, Any]:
    """Split lists of numbers in one value with commas: `--box 10,20,80,200`."""
    for name, value in fields.items():
        numbers = isinstance(value, list) and all(isinstance(text, str) for text in value)
        if numbers and _is_list_of_lists(task.options.model_fields[name]):
            fields[name] = [text.split(",") for text in value]
    return fields


def _option_parameters(task: AnyTask) -> dict[str, inspect.Parameter]:
    """The command's parameter of each field, by the field's name. A field whose plural exists is left out."""
    fields = task.options.model_fields
    parameters = {}
    for name, field in fields.items():
        if f"{name}s" in fields:
            continue
        kind, repeated = _kind_of(field)
        flags = [f"--{_to_dashes(name)}"]
        singular = f"--{_to_dashes(_singular(name))}"
        if CommaSeparated in field.metadata or any(isinstance(mark, CommaSeparated) for mark in field.metadata):
            option = typer.Option(*flags, help=f"{_describe(field)} Separate them by commas.", metavar="A,B,...")
            parameters[f"{name}{_IN_ONE}"] = keyword_option(
                f"option_{name}_in_one", Annotated[str | None, option], None
            )
            flags, field = (
                [singular],
                FieldInfo(description="One label, which may contain a comma. Repeat the option for several."),
            )
        elif repeated and _singular(name) not in fields:
            flags = list(dict.fromkeys([*flags, singular]))
        if kind is bool:
            flags = [f"--{_to_dashes(name)}/--no-{_to_dashes(name)}"]
        default = field.default if kind is bool or (kind in (int, float) and not field.is_required()) else None
        kind = list[str] if repeated else kind
        metavar = "TEXT" if repeated else None
        option = typer.Option(*flags, help=_describe(field), show_default=False, metavar=metavar)
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
        parameters[name] = keyword_option(f"option_{name}", annotation, default)
    return parameters


def _kind_of(field: FieldInfo) -> tuple[Any, bool]:
    """The type of an option's value on a command line, and whether it may be repeated."""
    kinds = [kind for kind in union_members(field.annotation) if kind is not types.NoneType]
    if any(get_origin(kind) is list for kind in kinds) and not any(get_origin(kind) is dict for kind in kinds):
        return str, True
    if len(kinds) == 1 and (kinds[0] in (bool, int, float) or get_origin(kinds[0]) is Literal):
        return kinds[0], False
    return str, False


def _is_list_of_lists(field: FieldInfo) -> bool:
    lists = [kind for kind in union_members(field.annotation) if get_origin(kind) is list]
    return bool(lists) and get_origin(bare_type(get_args(lists[0])[0])) is list


def _describe(field: FieldInfo) -> str:
    text = (field.description or "").replace("`", "")
    if field.default is None or field.is_required() or isinstance(field.default, bool):
        return text
    default = field.get_default()
    return f"{text} Default: {', '.join(map(str, default)) if isinstance(default, list) else default}."


def _to_dashes(name: str) -> str:
    return name.replace("_", "-")


def _singular(name: str) -> str:
    return name.removesuffix("es") if name.endswith("xes") else name.removesuffix("s")
