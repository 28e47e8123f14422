"""A backbone in this process, and the images that a command reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from backbones.files import write_file
from diffsight.cli.progress_lines import progress_lines
from heads.inputs import DecodedImage
from heads.task import Task
from service.inputs.images import decode_image
from service.inputs.names import readable_name
from service.models.catalogue import default_backbone, settings_of_source
from service.models.loading import OpenHeads, open_model, open_served
from service.settings.loader import Settings
from service.tasks import TASKS

Item = TypeVar("Item")


def open_engine(
    settings: Settings, source: str | None = None, *, classes: bool = False, tasks: Collection[str] = ()
) -> DirectEngine:
    """A backbone with the engine that computes at once.

    Imports torch. source: of the backbone; None is the one that the settings name, or the first that is served.
    classes: whether a network with classes instead of text is accepted. tasks: further tasks than the served ones that
    will run on it, for the number type of `auto`.
    Raises InvalidInput for an unsuitable network.
    """
    opener = open_served if classes else open_model
    source = source or default_backbone(settings)
    with progress_lines(lambda: f"loading {source}"):
        model = opener(settings_of_source(source, settings), source, tasks=tasks)
    return DirectEngine(model, max_rows=settings.engine.max_batch_rows or 32)


def open_head(settings: Settings, engine: DirectEngine, task: Task[Any, Any, Any], weights: str | None = None) -> Any:
    """The head of a task over the engine's backbone. weights: a path or a model's name, instead of the settings' own.

    Raises ModelNotFound if there is none.
    """
    tasks = (*(other for other in TASKS if other.name != task.name), task)
    named = {} if weights is None else {task.name: weights}
    with progress_lines(lambda: f"loading the weights of {task.name}"):
        return OpenHeads(settings, engine.model, tasks, named).require(task)


def read_image(path: Path, settings: Settings) -> DecodedImage:
    """The image in a file. Raises InvalidInput for one that cannot be read or decoded."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            readable_name(str(path)), f"cannot be read: {error.strerror}", hint="check the path of the image"
        ) from error
    return decode_image(data, settings.limits, field=readable_name(str(path)))


def progress(items: Sequence[Item]) -> Iterable[Item]:
    """The items. Shows a progress bar on standard error, or lines if that is no terminal."""
    if len(items) < 2:
        return items
    if not sys.stderr.isatty():
        return _count_in_lines(items)
    return track(items, "images", console=Console(stderr=True), transient=True)


def _count_in_lines(items: Sequence[Item]) -> Iterator[Item]:
    done = 0
    with progress_lines(lambda: f"images, {done} of {len(items)}"):
        for item in items:
            yield item
            done += 1


@contextmanager
def step_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, or lines if that is no terminal. Yields a function to call once a step."""
    done = 0
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)

        def advance() -> None:
            nonlocal done
            done += 1
            bar.advance(task)

        with progress_lines(lambda: f"{what}, {done} of {total}"):
            yield advance


def write_out(file: Path, data: bytes, option: str = "--out", hint: str = "name another file") -> None:
    """Write the file that an option names. Raises InvalidInput, about the option, if it cannot be written."""
    try:
        write_file(file, data)
    except OSError as error:
        raise InvalidInput(option, f"{file} can not be written: {error.strerror}", hint=hint) from error


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, no_wrap: bool = False) -> None:
    """A table on standard output: names in its first column, figures on the right of the others."""
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
