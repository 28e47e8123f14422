"""`diffsight annotate`: results for every image of a folder, bucket, archive, list or video, in one durable job."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backbones.errors import InvalidInput
from backbones.files import DAY, remove_leftovers, write_file
from diffsight.cli.annotate_ray import DEFAULT_PART, annotate_on_cluster
from diffsight.cli.options import check_out, with_settings
from diffsight.cli.progress_lines import progress_lines
from service.errors import ChangedMeanwhile, StorageFailed
from service.inputs.names import terminal_text
from service.jobs.formats.export import FOLDERS, Records, check_format, text_pieces
from service.jobs.parameters import complete_parameters, read_options, require_task
from service.jobs.records import Job, Record
from service.jobs.runner import Runner, measure_speed
from service.jobs.serving import open_store
from service.jobs.sources import guess
from service.jobs.store import JobStore
from service.models.slots import describe_progress
from service.settings.loader import Settings
from service.state import AppState, open_state
from service.tasks import TASKS
from service.telemetry.logging import configure_logging

Source = Annotated[
    str,
    typer.Argument(
        help="Folder, pattern, image, .zip, COCO .json with boxes, .txt of URLs, or video: a path, "
        "or a URL that fsspec opens.",
        metavar="SOURCE",
        show_default=False,
    ),
]
TaskName = Annotated[
    str,
    typer.Option(
        help="pose, zero-shot, features, depth, segmentation, referring, few-shot or classifier.", metavar="NAME"
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="jsonl, coco, label-studio, cvat, yolo, openpose, png, npy. Default: by the file's suffix.",
        metavar="NAME",
    ),
]

Out = Annotated[
    Path,
    typer.Option(
        help="File to write. For yolo, openpose, png and npy: a folder, or a .zip file. With --ray: a folder.",
        metavar="PATH",
    ),
]
ImagePrefix = Annotated[
    str,
    typer.Option(
        help="For label-studio: text to put before each image's name, such as /data/local-files/?d=photos/.",
        metavar="TEXT",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Run it on Ray: `local` for this machine's devices, `auto` for the cluster that this machine is part "
        "of, or its HOST:PORT. Results are Parquet files in the folder --out, which all machines see.",
        metavar="ADDRESS",
    ),
]
RayActors = Annotated[
    int | None, typer.Option(help="With --ray: device workers at most; default: one a GPU, or machine.", min=1)
]
RayPart = Annotated[
    int, typer.Option(help="With --ray: images that an actor does together, and one file holds.", min=1)
]

_BY_SUFFIX = {".jsonl": "jsonl", ".xml": "cvat", ".json": "coco"}
# Suffix of a form's file in the folder of a cluster's job.
_SUFFIXES = {"jsonl": ".jsonl", "coco": ".coco.json", "label-studio": ".label-studio.json", "cvat": ".cvat.xml"}


@with_settings()
def annotate(
    *,
    source: Source,
    task: TaskName,
    out: Out,
    form: Format = None,
    labels: Annotated[
        str | None, typer.Option(help="For zero-shot: labels, separated by commas.", metavar="A,B,...")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An option of the task, with the name that its route uses. Repeat it for several.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="If SOURCE is a COCO file: folder of its images.", metavar="FOLDER")] = "",
    stride: Annotated[int, typer.Option(help="For a video: process every so many frames.", min=1)] = 1,
    image_prefix: ImagePrefix = "",
    ray: RayAddress = None,
    ray_actors: RayActors = None,
    ray_part: RayPart = DEFAULT_PART,
    settings: Settings,
) -> None:
    """
    \b
    diffsight annotate photos/ --task pose --out coco.json
    diffsight annotate 'shots/*.png' --task zero-shot --labels cat,dog --out labels.jsonl

    Run a task on every image. If the command is stopped, even by kill -9, the same command continues where it stopped
    and repeats no finished image. If an image cannot be read, the command prints its name on standard error, writes the
    results of all others, and ends with exit status 2.
    """
    texts = _values(options or (), labels or "")
    state = open_state(settings, TASKS)
    form = form or (None if ray else _BY_SUFFIX.get(out.suffix, "jsonl"))
    exports = require_task(state, task).exports
    read_options(require_task(state, task), texts)
    check_format(form or "jsonl", task, exports, image_prefix=image_prefix)
    check_out(out)
    source_of_images = guess(source if "://" in source else str(Path(source).absolute()), images=images, stride=stride)
    if ray is not None:
        job, records = annotate_on_cluster(
            ray, settings, task, texts, source_of_images, out, actors=ray_actors, part_images=ray_part
        )
    else:
        job, records = _annotate_here(state, task, texts, source_of_images.model_dump())
    if form is not None:
        file = out if ray is None else out / (form if form in FOLDERS else f"results{_SUFFIXES[form]}")
        _write(records, job, form, file, image_prefix)
    reused = f", {job.reused} of them known already" if job.reused else ""
    typer.echo(f"wrote {out}: {job.done} images{reused}, {job.failed} failed")
    if job.failed:
        for record in records(status="failed"):
            typer.echo(f"diffsight: {terminal_text(record.name)}: {terminal_text(record.error)}", err=True)
        raise typer.Exit(2)


def _annotate_here(
    state: AppState, task: str, texts: list[tuple[str, str]], source: dict[str, Any]
) -> tuple[Job, Callable[..., Iterable[Record]]]:
    """The finished job of this machine, and its records. Raises InvalidInput for a job that did not finish."""
    store = open_store(state.settings)
    job = asyncio.run(_run(state, store, task, texts, source))
    if job.status != "done":
        raise InvalidInput("job", job.error or f"the job is {job.status}", hint="give the same command again")
    return job, partial(store.records, job.id)


def _values(options: Sequence[str], labels: str) -> list[tuple[str, str]]:
    """The task's parameters by name. Raises InvalidInput for one without a value."""
    pairs = [option.split("=", 1) for option in options]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise InvalidInput("--set", f"{wrong[0][0]!r} has no value", hint="write it as NAME=VALUE")
    texts = [(name, value) for name, value in pairs]
    return texts + [("labels", part.strip()) for part in labels.split(",") if part.strip()]


async def _run(
    state: AppState, store: JobStore, task: str, values: list[tuple[str, str]], source: dict[str, Any]
) -> Job:
    """Begin the job or continue it. Returns it when it has ended or cannot continue."""
    configure_logging("error")
    with progress_lines(lambda: "starting" + describe_progress(state.models.slots.values())):
        await state.models.start()
    try:
        if state.models.failure is not None:
            raise state.models.failure
        parameters = await complete_parameters(state, task, values)
        earlier_job = store.find_local(task, parameters, source)
        job = earlier_job or store.add(task, parameters, source, local=True)
        runner = Runner(store, state)
        claimed = await _claim(
            store, job.id, runner.owner, state.settings.jobs.lease_seconds, again=earlier_job is not None
        )
        running = asyncio.create_task(runner.run(claimed))
        await _watch(store, job.id, running)
        if not await running:
            message = "the disk or the database of jobs failed; finished images keep their results"
            raise StorageFailed(message, hint="repeat the command when it works again")
    finally:
        state.models.stop()
    return store.get(job.id)


async def _claim(store: JobStore, job_id: str, owner: str, lease_seconds: float, *, again: bool) -> Job:
    """The job, leased. Waits for the end of a killed process's lease. Raises ChangedMeanwhile and InvalidInput.

    again: whether the job was begun before.
    """
    deadline = time.monotonic() + lease_seconds + 1.0
    while True:
        try:
            if again:
                store.begin_again(job_id, seconds=lease_seconds)
            if (claimed := store.claim(owner, lease_seconds, job_id=job_id)) is not None:
                return claimed
            raise InvalidInput("job", "another process runs this job", hint="stop that process, or wait until it ends")
        except (ChangedMeanwhile, InvalidInput):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.25)


async def _watch(store: JobStore, job_id: str, running: asyncio.Task[bool]) -> None:
    """Show a progress bar with rate and time left while the job runs; on standard error that is no terminal, lines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    console = Console(stderr=True)
    shown = sys.stderr.isatty()
    now = await asyncio.to_thread(store.get, job_id)

    def describe() -> str:
        return f"images, {now.finished} of {now.total or 'unknown'}, {measure_speed(now).images_per_second:.1f}/s"

    with (
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown) as progress,
        progress_lines(describe),
    ):
        bar = progress.add_task("images", total=None, rate="")
        while not running.done():
            await asyncio.wait({running}, timeout=0.5)
            now = await asyncio.to_thread(store.get, job_id)
            rate = f"{measure_speed(now).images_per_second:.1f}/s"
            progress.update(bar, total=now.total or None, completed=now.finished, rate=rate)


def _write(records: Records, job: Job, form: str, out: Path, image_prefix: str) -> None:
    """Write the results in their form: one file, a folder of files, or a zip."""
    try:
        if form in FOLDERS and out.suffix != ".zip":
            for path, text in FOLDERS[form](job, records):
                file = out / path
                file.parent.mkdir(parents=True, exist_ok=True)
                write_file(file, text if isinstance(text, bytes) else text.encode())
        else:
            remove_leftovers(out.parent, older_than_seconds=DAY)
            write_file(out, text_pieces(form, job, records, image_prefix=image_prefix))
    except OSError as error:
        raise InvalidInput("--out", f"{out} can not be written: {error.strerror}", hint="name another file") from error
