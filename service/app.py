"""The FastAPI app: builds and wires, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from service.api.routers import ROUTERS
from service.http.access import check_exposure, guard
from service.http.openapi import complete, describe
from service.http.problems import handle_problems
from service.http.request_log import ObserveRequests
from service.inputs.urls import UrlFetcher
from service.jobs.serving import Jobs
from service.models.loading import Service, Started
from service.settings.loader import Settings, load_settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import open_tracing


def create_app(
    settings: Settings | None = None, *, on_started: Started | None = None, fetcher: UrlFetcher | None = None
) -> FastAPI:
    """The app for `settings` (those of the environment where none are given); it loads nothing before its lifespan.

    on_started: told once when the backbone is warm, or why it never will be. fetcher: what fetches images by address,
    where it is to differ from the settings' own.
    """
    settings = settings or load_settings()
    metrics = Metrics()
    service = Service(settings, metrics)
    fetcher = fetcher or UrlFetcher(settings.urls)
    jobs = Jobs(service, fetcher)
    tracing = open_tracing(settings.telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        check_exposure(settings)
        starting = asyncio.create_task(service.start(on_started))
        try:
            async with jobs.running():
                yield
        finally:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            await asyncio.to_thread(service.stop)
            if tracing is not None:
                await asyncio.to_thread(tracing.stop)

    # FastAPI's own spans would stand beside ours, and hold the query.
    app = FastAPI(lifespan=lifespan, telemetry={"tracing": False}, **describe())
    app.state.service = service
    app.state.fetcher = fetcher
    app.state.jobs = jobs
    for router in ROUTERS:
        app.include_router(router)
    handle_problems(app)
    complete(app)
    guard(app, settings)
    app.add_middleware(ObserveRequests, metrics=metrics, tracing=tracing)
    return app
