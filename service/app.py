"""The FastAPI app: builds and wires, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from service.access import LimitBody
from service.api.routers import ROUTERS
from service.metrics import Metrics
from service.observe import ObserveRequests
from service.openapi import complete, describe
from service.problems import handle_problems
from service.settings import Settings, load_settings
from service.startup import Service, Started


def create_app(settings: Settings | None = None, *, on_started: Started | None = None) -> FastAPI:
    """The app for `settings` (those of the environment where none are given); it loads nothing before its lifespan.

    on_started: told once when the backbone is warm, or why it never will be.
    """
    settings = settings or load_settings()
    metrics = Metrics()
    service = Service(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start(on_started))
        try:
            yield
        finally:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            await asyncio.to_thread(service.stop)

    app = FastAPI(lifespan=lifespan, **describe())
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    handle_problems(app)
    complete(app)
    app.add_middleware(LimitBody, max_bytes=settings.limits.max_upload_bytes)
    app.add_middleware(ObserveRequests, metrics=metrics)
    return app
