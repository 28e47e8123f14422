"""`diffsight annotate --ray`: the same on a cluster. Results are Parquet files in a folder that all nodes see."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backbones.errors import InvalidInput
from diffsight.cli.progress_lines import progress_lines
from service.cluster.ray_package import connect, require_ray
from service.jobs.records import Job, Record
from service.jobs.sources import Source
from service.settings.loader import Settings

if TYPE_CHECKING:
    from service.cluster.parts import Order
    from service.cluster.ray_data import PartDone

DEFAULT_PART = 256


def annotate_on_cluster(
    address: str,
    settings: Settings,
    task: str,
    values: Sequence[tuple[str, str]],
    source: Source,
    out: Path,
    *,
    actors: int | None = None,
    part_images: int = DEFAULT_PART,
) -> tuple[Job, Callable[..., Iterable[Record]]]:
    """The job when all its images have ended, and a function that returns its records, as `JobStore.records`.

    address: of Ray; not used if no results are missing. values: the task's parameters as in the command. out: the
    folder of its results. actors: their largest number. part_images: of each file of results.
    Raises InvalidInput for errors of the whole job.
    """
    require_ray()
    from service.cluster.parts import Order, PartFolder
    from service.cluster.ray_data import annotate_parts

    if source.kind == "video":
        raise InvalidInput(
            "source",
            "the frames of a video are decoded in order, by one machine",
            hint="leave out --ray, or write the frames as images first",
        )
    folder = PartFolder(out)
    pairs = [[name, value] for name, value in values]
    order = folder.begin(Order(task, pairs, source.model_dump(mode="json"), part_images))
    absent, with_failures = folder.find_missing(order.parts)
    wanted = absent + with_failures
    if wanted:
        ray = connect(address)
        try:
            with _shown(order, (order.parts - len(wanted)) * order.part_images) as advance:
                annotate_parts(ray, settings, folder, order, wanted, advance, actors=actors)
        finally:
            ray.shutdown()
    return folder.job(order, sum(folder.count_failures(order.parts).values())), partial(folder.records, order.parts)


@contextmanager
def _shown(order: Order, there: int) -> Iterator[Callable[[PartDone], None]]:
    """A progress bar on standard error, or lines if that is no terminal.

    Yields a function to call with each finished part. there: images that were done before.
    """
    total, done = order.total or 0, min(there, order.total or 0)
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
        progress_lines(lambda: f"images, {done} of {total}"),
    ):
        bar = progress.add_task("images", total=total, completed=done)

        def advance(part: PartDone) -> None:
            nonlocal done
            done += part.done + part.failed
            progress.update(bar, completed=done)

        yield advance
