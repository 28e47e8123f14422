"""Liveness, readiness and metrics: for supervisors and Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from service.dependencies import State
from service.http.openapi import key_problems, not_ready

router = APIRouter(tags=["server"])


class LiveAnswer(BaseModel):
    """The process is alive."""

    status: Literal["live"] = "live"


class ReadyAnswer(BaseModel):
    """The server is ready for requests."""

    status: Literal["ready"] = "ready"


@router.get("/health/live", summary="Is the process alive?", responses=not_ready())
async def live(state: State) -> LiveAnswer:
    """Answers 200 while the process works. Answers 503 if a restart may help: the backbone could not be loaded, or
    its worker died.
    """
    state.models.check_live()
    return LiveAnswer()


@router.get("/health/ready", summary="Is the server ready for requests?", responses=not_ready())
async def ready(state: State) -> ReadyAnswer:
    """Answers 200 once the backbone is loaded and warmed up, 503 before."""
    _ = state.models.worker
    return ReadyAnswer()


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **key_problems()},
)
async def metrics(state: State) -> Response:
    """Counters and histograms in the Prometheus text format. Times are in seconds."""
    return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
