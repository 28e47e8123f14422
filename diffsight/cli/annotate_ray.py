"""`diffsight annotate --ray`: the same on a cluster, whose results are Parquet files in a folder that all nodes see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backbones.errors import InvalidInput
from diffsight.cli.progress_lines import progress_lines
from service.cluster.ray_package import connect, require_ray
from service.inputs.names import terminal_text
from service.jobs.records import Job
from service.jobs.sources import Source
from service.settings.loader import Settings

if TYPE_CHECKING:
    from service.cluster.parts import Order, PartFolder

DEFAULT_PART = 256


def annotate_on_cluster(
    address: str,
    settings: Settings,
    *,
    task: str,
    values: list[tuple[str, str]],
    source: Source,
    out: Path,
    actors: int | None,
    part_images: int,
) -> tuple[Job, PartFolder, Order]:
    """The job when all its images have ended, its folder, and what was asked for. Raises InvalidInput.

    address: of Ray. Where nothing is missing no cluster is wanted.
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
    absent, with_failures = folder.missing(order.parts)
    if wanted := absent + with_failures:
        ray = connect(address)
        try:
            there = (order.parts - len(wanted)) * order.part_images
            with _shown(order, there) as advance:
                annotate_parts(
                    ray,
                    settings,
                    folder,
                    order,
                    wanted,
                    lambda part: advance(part.done + part.failed),
                    actors=actors,
                )
        finally:
            ray.shutdown()
    failed = sum(1 for _ in folder.records(order.parts, status="failed"))
    return folder.job(order, failed), folder, order


def report(job: Job, folder: PartFolder, order: Order, out: Path) -> None:
    """Say what was done; the exit status is 2 where an image failed, and each is named."""
    typer.echo(f"wrote {out}: {job.done} images, {job.failed} failed")
    if job.failed:
        for record in folder.records(order.parts, status="failed"):
            typer.echo(f"diffsight: {terminal_text(record.name)}: {terminal_text(record.error)}", err=True)
        raise typer.Exit(2)


@contextmanager
def _shown(order: Order, there: int) -> Iterator[Any]:
    """A bar on standard error where a person watches, else lines. What it gives is called with images that ended."""
    total, done = order.total or 0, min(there, order.total or 0)
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
        progress_lines(lambda: f"images, {done} of {total}"),
    ):
        bar = progress.add_task("images", total=total, completed=done)

        def advance(images: int) -> None:
            nonlocal done
            done += images
            progress.update(bar, completed=done)

        yield advance
