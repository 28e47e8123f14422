"""Run jobs on the engine: many images at a time, so that their rows fill batches, with bulk priority."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from backbones.errors import Cancelled, DiffsightError, InvalidInput, ModelNotFound
from service.errors import NotReady, StorageFailed
from service.jobs.item_work import ItemWork, JobFailed, open_reader
from service.jobs.parameters import read_options, require_task, take_model
from service.jobs.places import check_place
from service.jobs.records import Item, Job, Outcome
from service.jobs.sources import StoredSource, list_items
from service.jobs.store import JobStore
from service.jobs.uploads import uploads_folder
from service.run_task import Work, prepare
from service.state import AppState
from service.threads import DATABASE, SOURCES, run_in

log = structlog.get_logger("diffsight")

_LISTED_AT_ONCE = 1000


class _LeftAlone(Exception):
    """The job was paused, deleted or taken over while it ran."""


class Runner:
    """Claims jobs from the store and runs them. One runner owns a job; the leases of a runner that died expire."""

    def __init__(self, store: JobStore, state: AppState) -> None:
        self.store = store
        self.state = state
        self.settings = state.settings
        self.owner = secrets.token_hex(8)
        self._news = asyncio.Event()

    def notify(self) -> None:
        """Look for work now."""
        self._news.set()

    async def serve(self) -> None:
        """Run jobs until cancelled, at most `jobs.jobs_at_once` at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.settings.jobs.jobs_at_once):
                group.create_task(self._repeat())

    async def _repeat(self) -> None:
        while True:
            job = None
            try:
                _ = self.state.models.worker
                job = await run_in(DATABASE, self.store.claim, f"{self.owner}{secrets.token_hex(4)}", self._lease)
            except DiffsightError:
                pass  # not ready yet, or stopping
            except Exception:
                log.exception("jobs can not be read")
            if job is not None and await self.run(job):
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self.settings.jobs.poll_seconds)
            self._news.clear()

    @property
    def _lease(self) -> float:
        return self.settings.jobs.lease_seconds

    async def run(self, job: Job) -> bool:
        """Run a claimed job to its end, or until it is paused, deleted or taken over. An error is stored with the job.

        Returns False if the disk or the database failed: the job stays as it is, and continues when they work again.
        """
        status, error, stored = None, "", True
        try:
            with structlog.contextvars.bound_contextvars(job=job.id):
                await _Run(self, job).all()
            status = "done"
        except* _LeftAlone:
            pass
        except* JobFailed as group:
            status, error = "failed", str(_first(group))
        except* (Cancelled, NotReady):
            pass  # the server stops, or its device was lost: the next process that starts continues the job
        except* StorageFailed as group:
            log.error("a job waits for its disk or database", job=job.id, error=str(_first(group)))
            stored = False
        except* DiffsightError as group:
            status, error = "failed", str(_first(group))
        except* Exception as group:
            log.error("a job failed", job=job.id, exc_info=_first(group))
            status, error = "failed", f"a fault of the server, see its log: {type(_first(group)).__name__}"
        finally:
            with suppress(Exception):
                await asyncio.shield(
                    run_in(DATABASE, self.store.release, job.id, job.owner, status=status, error=error)
                )
        return stored


class _Run:
    """One run of one job: one task pages items, several tasks process them, and one task writes the outcomes."""

    def __init__(self, runner: Runner, job: Job) -> None:
        self.runner = runner
        self.store = runner.store
        self.settings = runner.settings
        self.job = job
        self.state = runner.state
        try:
            self.task = require_task(runner.state, job.task)
            self.model, parameters = take_model(job.parameters)
            self.options = read_options(self.task, parameters)
            source = StoredSource.model_validate(job.source)
        except (ValueError, InvalidInput) as error:
            raise JobFailed(f"this version cannot read the job: {error}") from error
        self.source = source.resolve(uploads_folder(self.settings))
        # A job over REST has the bounds of a request, and reads only places that the settings allow.
        self.places = None if job.local or source.uploaded else self.settings.jobs.sources
        self.most_listed = None if job.local else self.settings.jobs.max_document_bytes
        self.reader = open_reader(runner.state, self.source, local=job.local)
        self.prepared: ItemWork | None = None
        at_once = runner.settings.jobs.images_at_once
        self.waiting: asyncio.Queue[Item | None] = asyncio.Queue(at_once)
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(4 * at_once)

    async def all(self) -> None:
        """List the source if it is not listed yet, then process unfinished items. Raises an ExceptionGroup."""
        try:
            # The job's model stays loaded for the whole run.
            async with AsyncExitStack() as leases:
                await self._all(leases)
        finally:
            # In the background: a thread that reads from a folder that hangs may never return.
            SOURCES.submit(self.reader.close)

    async def _all(self, leases: AsyncExitStack) -> None:
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew())
            await self._begin(leases)
            if not self.job.listed:
                await self._list()
            writer = group.create_task(self._write())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(self._page())
                for _ in range(self.settings.jobs.images_at_once):
                    inner.create_task(self._work())
            await self.outcomes.put(None)
            await writer
            renewing.cancel()

    async def _renew(self) -> None:
        lease = self.settings.jobs.lease_seconds
        while True:
            if not await run_in(DATABASE, self.store.renew, self.job.id, self.job.owner, lease):
                raise _LeftAlone
            await asyncio.sleep(min(1.0, lease / 3))

    async def _begin(self, leases: AsyncExitStack) -> None:
        """Check that the job may read its source, and that its weights are those of its first results."""
        if self.places is not None:
            for address in filter(None, (self.source.address, self.source.images)):
                await run_in(SOURCES, check_place, address, self.places, field="source")
        if self.source.kind == "urls" and not (self.job.local or self.settings.urls.enabled):
            raise JobFailed("this server fetches no images by address (its setting urls.enabled is off)")
        # A job stays with the model that it began on, even if the task's default model has changed.
        prepared = prepare(self.state, self.task, self.options, model=self.model or self.job.model or None, long=True)
        try:
            work: Work = await leases.enter_async_context(prepared)
        except ModelNotFound as error:
            if not self.job.model:
                raise
            message = f"the job belongs to the model {self.job.model!r} with weights {self.job.revision}: {error}"
            raise JobFailed(message) from error
        model, revision = work.loaded.id, work.revision
        if not self.job.revision:
            await run_in(DATABASE, self.store.set_model, self.job.id, model, revision)
        elif self.job.revision != revision:
            raise JobFailed(
                f"the model {model!r} was replaced, or a concept or classifier that the job names: it began with "
                f"{self.job.revision}, and this server has {revision}; start a server with those weights, or begin a "
                "new job"
            )

        async def has_result(key: str) -> bool:
            return await run_in(DATABASE, self.store.has_result, key)

        self.prepared = ItemWork(self.state, work, self.job.parameters, self.reader, has_result, places=self.places)

    @property
    def work(self) -> ItemWork:
        """The prepared work on each image."""
        assert self.prepared is not None
        return self.prepared

    async def _list(self) -> None:
        await run_in(DATABASE, self.store.clear_items, self.job.id)
        items = list_items(self.source, most_bytes=self.most_listed)
        total = 0
        while True:
            try:
                page = await run_in(SOURCES, _take, items, _LISTED_AT_ONCE)
            except InvalidInput as error:
                raise JobFailed(str(error)) from error
            if not page:
                break
            total += len(page)
            if total > self.settings.jobs.max_items:
                raise JobFailed(
                    f"the source has more than {self.settings.jobs.max_items:,} images: split it into several jobs"
                )
            await run_in(DATABASE, self.store.add_items, self.job.id, page)
        await run_in(DATABASE, self.store.set_listed, self.job.id, total)

    async def _page(self) -> None:
        """Feed the workers, a page of unfinished items at a time."""
        after = -1
        while items := await run_in(DATABASE, self.store.list_pending, self.job.id, after=after, limit=_LISTED_AT_ONCE):
            for item in items:
                await self.waiting.put(item)
            after = items[-1].position
        for _ in range(self.settings.jobs.images_at_once):
            await self.waiting.put(None)

    async def _write(self) -> None:
        """Store outcomes: all that are ready in one transaction, without waiting for more."""
        ended = False
        while not ended:
            outcomes = [await self.outcomes.get()]
            while not self.outcomes.empty():
                outcomes.append(self.outcomes.get_nowait())
            ended = None in outcomes
            if done := [outcome for outcome in outcomes if outcome is not None]:
                await run_in(DATABASE, self.store.finish, self.job.id, done)
                for outcome in done:
                    self.work.settle(outcome.key)

    async def _work(self) -> None:
        while (item := await self.waiting.get()) is not None:
            await self.outcomes.put(await self.work.outcome(item))


def _take(items: Any, count: int) -> list[Item]:
    return [item for _, item in zip(range(count), items, strict=False)]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(frozen=True, slots=True)
class JobSpeed:
    """The speed of a job. images_per_second: of the present run. seconds_left: None if it is unknown."""

    images_per_second: float
    seconds_left: float | None


def measure_speed(job: Job, now: float | None = None) -> JobSpeed:
    """The speed of the job's present run, up to its last change."""
    until = (now or time.time()) if job.status == "running" else job.updated
    rate = (job.finished - job.resumed_finished) / max(until - job.resumed, 1e-3)
    left = job.total - job.finished
    return JobSpeed(rate, left / rate if job.status == "running" and rate > 0 and job.listed else None)
