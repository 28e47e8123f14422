"""Liveness, readiness and metrics: what supervisors and Prometheus ask."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from service.http.openapi import keyed, not_ready
from service.models.loading import service_of

router = APIRouter(tags=["server"])


class LiveAnswer(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class ReadyAnswer(BaseModel):
    """The backbone is loaded and warm."""

    status: Literal["ready"] = "ready"


@router.get("/health/live", summary="Is the process alive?", responses=not_ready())
async def live(request: Request) -> LiveAnswer:
    """200 while a restart would not help; 503 once the backbone could not be loaded or its worker died."""
    service_of(request).check_live()
    return LiveAnswer()


@router.get("/health/ready", summary="Can it take requests?", responses=not_ready())
async def ready(request: Request) -> ReadyAnswer:
    """200 once the backbone is loaded and warm, 503 before."""
    _ = service_of(request).engine
    return ReadyAnswer()


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **keyed()},
)
async def metrics(request: Request) -> Response:
    """Counters and histograms in seconds, in the Prometheus text format."""
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
