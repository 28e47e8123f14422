"""The jobs of one server: their store, opened beside the backbone, and the runner, from start to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from starlette.requests import Request

from backbones.errors import DiffsightError
from service.errors import NotReady
from service.inputs.urls import UrlFetcher
from service.jobs.runner import Runner
from service.jobs.store import JobStore, default_url
from service.models.loading import Service
from service.settings.loader import Settings

log = structlog.get_logger("diffsight")


def open_store(settings: Settings) -> JobStore:
    """The store that the settings name. Blocks. Raises InvalidInput where it can not be opened."""
    return JobStore(settings.jobs.database or default_url(settings.data_path()))


class Jobs:
    """What the routes of one app need of its jobs."""

    def __init__(self, service: Service, fetcher: UrlFetcher) -> None:
        self.service = service
        self.fetcher = fetcher
        self._opening: asyncio.Task[JobStore] | None = None
        self._runner: Runner | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run jobs inside. Who leaves gives them back, so that the next start, or another server, goes on at once."""
        self._opening = asyncio.create_task(asyncio.to_thread(open_store, self.service.settings))
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

    async def _serve(self, opening: asyncio.Task[JobStore]) -> None:
        try:
            store = await asyncio.shield(opening)
        except (DiffsightError, OSError) as error:
            log.error("no jobs: their database could not be opened", error=str(error))
            return
        self._runner = Runner(store, self.service, self.fetcher)
        await self._runner.serve()


def jobs_of(request: Request) -> Jobs:
    """The jobs of the app that got this request."""
    jobs: Jobs = request.app.state.jobs
    return jobs
