"""Options of several commands. Without an option, the settings apply."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from backbones.errors import InvalidInput
from service.settings.loader import load_settings

Backbone = Annotated[
    str | None,
    typer.Option(help="pocket, a diffusers folder, a checkpoint file or a hub id."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
DType = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.", metavar="NAME")]
Config = Annotated[
    Path | None, typer.Option(help="TOML file of settings; docs/settings.md lists them.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LabelledFolder = Annotated[
    Path, typer.Argument(help="Folder with a folder of images for each class.", show_default=False)
]

SETTINGS_OPTIONS = {"backbone": Backbone, "device": Device, "dtype": DType, "config": Config}


def with_settings(
    *, without: Collection[str] = (), in_full: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of settings instead of its keyword-only parameter `settings`.

    without: options that the command does not have. in_full: whether `dtype=auto` means float32 on every device, as for
    training.
    """
    options = {name: option for name, option in SETTINGS_OPTIONS.items() if name not in without}
    added = [keyword_option(name, option, None) for name, option in options.items()]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            chosen = {name: values.pop(name) for name in options}
            settings = load_settings(chosen.pop("config"), **chosen)
            if in_full and settings.dtype == "auto":
                settings = settings.model_copy(update={"dtype": "float32"})
            command(settings=settings, **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            plain = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += added if parameter.name == "settings" else [plain]
        return set_parameters(run, parameters)

    return decorate


def keyword_option(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def set_parameters(command: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Set the parameters that typer reads from a function: the signature for defaults, annotations for types."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def check_out(out: Path) -> None:
    """Raises InvalidInput if there is no folder to write the file `out` to."""
    if not out.absolute().parent.is_dir():
        raise InvalidInput("--out", f"there is no folder {out.parent}", hint="create it, or name another file")
