"""Run a task on its files: readiness, limits, decoding, deadline and timings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from backbones.backbone import Backbone
from backbones.errors import DeadlinePassed, InvalidInput
from heads.inputs import InputCounts, Inputs
from heads.task import check_rows
from service.engine.session import Session
from service.engine.shared_rows import Procedure, perceive
from service.inputs.files import InputFiles, fetch_files
from service.inputs.urls import ImageUrl
from service.models.slots import Loaded
from service.state import AppState
from service.tasks import AnyTask
from service.telemetry.tracing import stage, trace_calls
from service.telemetry.usage import Usage
from service.threads import LIBRARY, run_in

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A task with complete options and its head; all checks that need no images are done.

    head: for `run`, with the clients' objects as of the preparation. loaded: the task's model.
    """

    task: AnyTask
    options: Any
    head: Any
    loaded: Loaded

    @property
    def revision(self) -> str:
        """Changes when any answer to these options could."""
        return str(self.head.revision)

    def procedure(self, inputs: Inputs, on_progress: Callable[[Any], None] | None = None) -> Procedure:
        """Run the task on an engine."""
        return lambda engine: self.task.run(engine, self.head, inputs, self.options, on_progress)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """How to run a request.

    usage: its resources, filled while it runs. bulk: whether interactive requests go first. deadline_seconds: at most
    the settings'; None means the settings'.
    """

    usage: Usage
    bulk: bool = False
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """Finished work. result: typed, in the image's own pixels. inputs: the decoded images."""

    work: Work
    result: Any
    inputs: Inputs


@asynccontextmanager
async def prepare(
    state: AppState,
    task: AnyTask,
    options: Any,
    counts: InputCounts | None = None,
    *,
    model: str | None = None,
    seconds: float | None = None,
    long: bool = False,
) -> AsyncIterator[Work]:
    """The work of a task with these options, complete and checked; its model stays loaded until the context is left.

    counts: of the images; by default one. model: its id; None is the task's default. seconds: how long loading it may
    take; None is the settings' deadline. long: whether the work takes minutes or more.
    Raises NotReady and ModelNotFound without a model, InvalidInput for options that cannot run, need more rows than a
    request may take, or cannot finish in time, and NothingStored for objects that do not exist.
    """
    seconds = seconds or state.settings.limits.deadline_seconds
    if model is None and task.made_on is not None:
        revision = await run_in(LIBRARY, task.made_on, options, state.library)
        model = None if revision is None else state.models.revisions().get(revision)
    async with state.models.use(task, model, seconds=None if long else seconds, long=long) as loaded:
        yield await _prepare(state, loaded, options, counts or InputCounts(), None if long else seconds)


async def _prepare(state: AppState, loaded: Loaded, options: Any, counts: InputCounts, seconds: float | None) -> Work:
    task, limits = loaded.task, state.settings.limits
    complete = await asyncio.to_thread(task.complete, options, loaded.head, counts, limits)
    head = loaded.head
    if task.prepare is not None:
        head = await run_in(LIBRARY, task.prepare, loaded.head, complete, state.library)
    if task.estimate_rows is not None:
        rows = task.estimate_rows(complete, head) * counts.images
        what = f"{counts.images} images with these options make"
        check_rows(rows, limits, "options", what, "send fewer images, or send less work an image")
    if task.least_rows is not None and seconds is not None:
        check_time(task.least_rows(complete, head) * counts.images, state, loaded.model, seconds)
    return Work(task, complete, head, loaded)


def check_time(rows: int, state: AppState, backbone: Backbone, seconds: float) -> None:
    """Raises InvalidInput for U-Net rows that cannot be computed within so many seconds, by the measured rate."""
    needed = state.models.worker.least_row_seconds(backbone, rows)
    if needed > seconds:
        fitting = max(1, int(rows * seconds / needed))
        raise InvalidInput(
            "options",
            f"these options need {rows:,} U-Net rows, {needed:,.0f} seconds on this server at least; the request has "
            f"{seconds:g}",
            hint=f"about {fitting:,} rows fit: send scheme=race with budget={fitting}, or fewer labels or templates; a "
            "job (POST /v1/jobs) has no deadline",
        )


async def run_task(
    state: AppState,
    work: Work,
    files: InputFiles,
    terms: Terms,
    on_progress: Callable[[Any], None] | None = None,
) -> Done:
    """The result of prepared work over the files of a request. Raises the errors of `run_procedure` and of the task."""

    async def procedure(session: Session, inputs: Inputs) -> Done:
        return Done(work, await work.procedure(inputs, on_progress)(session), inputs)

    return await run_procedure(state, work.loaded.model, work.task.name, files, procedure, terms)


async def run_together(
    state: AppState,
    parts: Sequence[Work],
    files: InputFiles,
    terms: Terms,
) -> list[Done]:
    """Run several tasks over one backbone on one image; rows that tasks share are computed once."""

    async def procedure(session: Session, inputs: Inputs) -> list[Done]:
        procedures = {str(place): part.procedure(inputs) for place, part in enumerate(parts)}
        results = await perceive(session, procedures)
        return [Done(part, results[str(place)], inputs) for place, part in enumerate(parts)]

    return await run_procedure(state, parts[0].loaded.model, "perceive", files, procedure, terms)


async def run_procedure(
    state: AppState,
    backbone: Backbone,
    label: str,
    files: InputFiles,
    procedure: Callable[[Session, Inputs], Awaitable[Result]],
    terms: Terms,
) -> Result:
    """The result of `procedure` over the decoded images, in a session of its own, which drops waiting rows at its end.

    backbone: what its rows run on; the caller holds a lease on it. label: the metric label of its rows.
    Raises NotReady without a warm worker, InvalidInput for an image, and DeadlinePassed.
    """
    most, usage = state.settings.limits.deadline_seconds, terms.usage
    seconds = min(terms.deadline_seconds or most, most)
    if usage.trace is not None:
        usage.trace.mark_admitted(label, usage.labels)

    async def work() -> Result:
        async with decoded_inputs(state, files, terms) as inputs:
            left = seconds - sum(usage.timings.values())
            with state.models.worker.session(
                label, backbone=backbone, bulk=terms.bulk, deadline_seconds=left
            ) as session:
                try:
                    return await procedure(trace_calls(session, usage.trace), inputs)
                finally:
                    for name, spent in session.stage_seconds().items():
                        usage.timings[name] = usage.timings.get(name, 0.0) + spent
                    usage.rows += session.rows

    # The error is raised outside: chained to asyncio's, it would refer to its own task, and the images, the session and
    # the model that its frames hold would stay until Python's collection of cycles.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await work()
    later = f", or send a deadline_seconds of up to {most:g}" if seconds < most else ""
    hint = f"send less work{later}; a job (POST /v1/jobs) has no deadline"
    raise DeadlinePassed(f"not done within {seconds:g} seconds", hint=hint)


@asynccontextmanager
async def decoded_inputs(state: AppState, files: InputFiles, terms: Terms) -> AsyncIterator[Inputs]:
    """The decoded images of a request, which count towards the pixel budget until the block ends.

    URLs are fetched first.
    Raises InvalidInput.
    """
    sources, names, usage = files.all(), files.names(), terms.usage
    started = time.perf_counter()
    most = state.settings.limits.max_upload_bytes
    contents = await fetch_files(state.fetcher, sources, names, most_bytes=most)
    if any(isinstance(source, ImageUrl) for source in sources):
        usage.timings["fetch"] = time.perf_counter() - started
        started = time.perf_counter()
    async with AsyncExitStack() as stack:
        with stage(usage.trace, "decode", images=len(sources)):
            images = await stack.enter_async_context(state.decoder.decoded(contents, names, bulk=terms.bulk))
        usage.timings["decode"] = usage.timings.get("decode", 0.0) + time.perf_counter() - started
        first, second = len(files.images), len(files.images) + len(files.support_images)
        yield Inputs(images[:first], images[first:second], images[second:])
