"""Builds the FastAPI app from its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service.api import classifiers, concepts, duplicates, health, home, jobs, models
from service.api.perceive import perceive_route
from service.api.task_route import task_routes
from service.engine.idle_memory import give_back_when_idle
from service.http.access import DOCS_FILES, check_exposure, guard
from service.http.openapi import complete, describe
from service.http.problems import handle_problems
from service.http.request_log import ObserveRequests
from service.inputs.urls import UrlFetcher
from service.jobs.serving import Jobs
from service.models.store import Started
from service.protocols import huggingface, label_studio, open_inference, roboflow
from service.settings.loader import Settings, load_settings
from service.state import open_state
from service.tasks import TASKS, AnyTask
from service.telemetry.tracing import open_tracing

ROUTERS = (
    classifiers.router,
    concepts.router,
    jobs.router,
    duplicates.router,
    label_studio.router,
    huggingface.router,
    open_inference.router,
    roboflow.router,
    models.router,
    home.router,
)


def create_app(
    settings: Settings | None = None,
    *,
    tasks: tuple[AnyTask, ...] = TASKS,
    on_started: Started | None = None,
    on_device_lost: Callable[[Exception], None] | None = None,
    fetcher: UrlFetcher | None = None,
) -> FastAPI:
    """The app for `settings`, by default those of the environment.

    Models load in its lifespan. tasks: the tasks to serve. on_started: called once, when the models are warm, or with
    the error that prevents it. on_device_lost: called on another thread when the device's worker has stopped and only a
    new process helps. fetcher: fetches images by address; by default as the settings say.
    """
    settings = settings or load_settings()
    state = open_state(settings, tasks, fetcher)
    state.models.on_device_lost = on_device_lost
    server_jobs = Jobs(state)
    tracing = open_tracing(settings.telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        check_exposure(settings)
        background = [
            asyncio.create_task(state.models.start(on_started)),
            asyncio.create_task(give_back_when_idle(state.models.work_done)),
        ]
        try:
            async with server_jobs.running():
                yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.to_thread(state.models.stop)
            if tracing is not None:
                await asyncio.to_thread(tracing.stop)

    # FastAPI's own spans would duplicate ours, and contain the query.
    # FastAPI's pages of documentation load scripts from other hosts; ours do not.
    app = FastAPIOffline(lifespan=lifespan, telemetry={"tracing": False}, static_url=DOCS_FILES, **describe())
    app.state.server = state
    app.state.jobs = server_jobs
    for router in (health.router, task_routes(tasks), perceive_route(tasks), *ROUTERS):
        app.include_router(router)
    handle_problems(app)
    complete(app)
    guard(app, settings)
    app.add_middleware(ObserveRequests, metrics=state.metrics, tracing=tracing)
    return app
