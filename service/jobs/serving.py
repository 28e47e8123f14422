"""The jobs of one server: their store, opened beside the backbone, and the runner, from start to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from backbones.errors import DiffsightError
from service.errors import NotReady
from service.jobs.database import default_url
from service.jobs.leftovers import remove_upload_leftovers
from service.jobs.runner import Runner
from service.jobs.store import JobStore
from service.jobs.uploads import uploads_folder
from service.settings.loader import Settings
from service.state import AppState
from service.threads import DATABASE, LIBRARY, run_in

log = structlog.get_logger("diffsight")


def open_store(settings: Settings) -> JobStore:
    """The store that the settings name. Blocks. Raises InvalidInput where it cannot be opened."""
    url = settings.jobs.database or default_url(settings.data_path())
    return JobStore(url, most_bytes=settings.jobs.max_result_bytes)


class Jobs:
    """What the routes of one app need of its jobs."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        self._opening: asyncio.Task[JobStore] | None = None
        self._runner: Runner | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run jobs inside. On leaving they are released, so that the next start, or another server, goes on at once."""
        self._opening = asyncio.create_task(run_in(DATABASE, open_store, self.state.settings))
        serving = asyncio.create_task(self._serve(self._opening))
        try:
            yield
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            with suppress(Exception):
                (await self._opening).close()

    async def store(self) -> JobStore:
        """The open store. Raises NotReady where there is none."""
        try:
            if self._opening is not None:
                return await asyncio.shield(self._opening)
        except (DiffsightError, OSError) as error:
            raise NotReady("this server keeps no jobs: its database could not be opened", hint="see its log") from error
        raise NotReady("the server has not started", hint="ask again when /health/ready answers 200")

    def notify(self) -> None:
        """Let the runner look for work now."""
        if self._runner is not None:
            self._runner.notify()

    def _remove_leftovers(self, store: JobStore) -> None:
        """Delete what earlier processes that were killed left in the data folder."""
        settings = self.state.settings
        # Of another database's jobs the uploads may lie here too: only the folder's own one knows all of them.
        known = store.has_job if settings.jobs.database is None else lambda _: True
        try:
            removed = remove_upload_leftovers(uploads_folder(settings), known)
            removed += self.state.library.remove_leftovers()
        except (DiffsightError, OSError) as error:
            log.warning("leftovers could not be deleted", error=str(error))
        else:
            if removed:
                log.info("leftovers deleted", files=removed[:20], count=len(removed))

    async def _serve(self, opening: asyncio.Task[JobStore]) -> None:
        try:
            store = await asyncio.shield(opening)
        except (DiffsightError, OSError) as error:
            log.error("no jobs: their database could not be opened", error=str(error))
            return
        await run_in(LIBRARY, self._remove_leftovers, store)
        self._runner = Runner(store, self.state)
        await self._runner.serve()
