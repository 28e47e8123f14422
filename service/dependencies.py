"""Dependencies of routes: the server's state, its jobs, and a request's body as a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from service.inputs.request_body import read_request
from service.jobs.serving import Jobs
from service.settings.groups import LimitSettings
from service.state import AppState
from service.telemetry.usage import Usage

Model = TypeVar("Model", bound=BaseModel)


# Coroutines: FastAPI runs a plain function on a thread, and switching threads costs a request more than the rest of its
# routing.
async def get_state(request: Request) -> AppState:
    """The state of the app that got this request."""
    state: AppState = request.app.state.server
    return state


async def get_jobs(request: Request) -> Jobs:
    """The jobs of the app that got this request."""
    jobs: Jobs = request.app.state.jobs
    return jobs


async def get_usage(request: Request) -> Usage:
    """The resources that this request uses; its log line and metrics read the same object."""
    usage: Usage = request.state.usage
    return usage


State = Annotated[AppState, Depends(get_state)]
ServerJobs = Annotated[Jobs, Depends(get_jobs)]
RequestUsage = Annotated[Usage, Depends(get_usage)]


def keep_limits(limits: LimitSettings) -> LimitSettings:
    """The limits of an ordinary request."""
    return limits


def body_as(
    model: type[Model], limits: Callable[[LimitSettings], LimitSettings] = keep_limits
) -> Callable[..., Awaitable[Model]]:
    """A dependency that gives the request's body as `model`, once the server is ready.

    NotReady is raised before the body is read. limits: those of the route, computed from the settings'.
    """

    async def read(request: Request, state: State) -> Model:
        _ = state.models.worker
        settings = state.settings
        return await read_request(request, model, limits(settings.limits), fetch_urls=settings.urls.enabled)

    return read
