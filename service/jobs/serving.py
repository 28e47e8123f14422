"""The jobs of one server: their store, opened while the backbone loads, and the runner."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from backbones.errors import DiffsightError
from service.errors import NotReady
from service.jobs.database import default_url
from service.jobs.leftovers import remove_upload_leftovers, sole_database_since
from service.jobs.runner import Runner
from service.jobs.store import JobStore
from service.jobs.uploads import uploads_folder
from service.settings.loader import Settings
from service.state import AppState
from service.threads import DATABASE, LIBRARY, run_in

log = structlog.get_logger("diffsight")


def open_store(settings: Settings) -> JobStore:
    """The store that the settings name. Blocks. Raises InvalidInput if it cannot be opened."""
    url = settings.jobs.database or default_url(settings.data_path())
    return JobStore(url, most_bytes=settings.jobs.max_result_bytes)


class Jobs:
    """The jobs of one app, for its routes. retry_seconds: until a database that did not open is tried again."""

    def __init__(self, state: AppState, *, retry_seconds: float = 10.0) -> None:
        self.state = state
        self._retry_seconds = retry_seconds
        self._opening: asyncio.Future[JobStore] | None = None
        self._opened: JobStore | None = None
        self._failure: Exception | None = None
        self._runner: Runner | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run jobs inside the block. At its end they are released, so that the next process continues them at once."""
        self._opening = asyncio.ensure_future(run_in(DATABASE, open_store, self.state.settings))
        serving = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            if self._opened is not None:
                self._opened.close()
            else:
                with suppress(Exception):
                    (await self._opening).close()

    async def store(self) -> JobStore:
        """The open store. Raises NotReady if there is none."""
        if self._opening is None:
            raise NotReady("the server has not started", hint="send it again when /health/ready answers 200")
        if self._opened is None and self._failure is None:
            with suppress(DiffsightError, OSError):
                return await asyncio.shield(self._opening)
        if self._opened is not None:
            return self._opened
        raise NotReady(
            "this server has no jobs at the moment: its database cannot be opened",
            hint="try again later, or see the server's log",
        ) from self._failure

    def notify(self) -> None:
        """Let the runner look for work now."""
        if self._runner is not None:
            self._runner.notify()

    def _remove_leftovers(self, store: JobStore) -> None:
        """Delete what earlier processes that were killed left in the data folder."""
        settings = self.state.settings
        folder = uploads_folder(settings)
        try:
            since = sole_database_since(folder, settings.jobs.database or "")
            # The folder's own database knows all its jobs, also those from before the folder listed its databases.
            if settings.jobs.database is None and since < math.inf:
                since = 0.0
            removed = remove_upload_leftovers(folder, store.has_job, since=since)
            removed += self.state.library.remove_leftovers()
        except (DiffsightError, OSError) as error:
            log.warning("leftovers could not be deleted", error=str(error))
        else:
            if removed:
                log.info("leftovers deleted", files=removed[:20], count=len(removed))

    async def _serve(self) -> None:
        assert self._opening is not None
        while self._opened is None:
            try:
                self._opened = await asyncio.shield(self._opening)
            except (DiffsightError, OSError) as error:
                if str(error) != str(self._failure):
                    log.error("no jobs until their database can be opened", error=str(error))
                self._failure = error
                await asyncio.sleep(self._retry_seconds)
                self._opening = asyncio.ensure_future(run_in(DATABASE, open_store, self.state.settings))
        await run_in(LIBRARY, self._remove_leftovers, self._opened)
        self._runner = Runner(self._opened, self.state)
        await self._runner.serve()
