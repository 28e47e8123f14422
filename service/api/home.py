"""The server's first page: it leads to the playground, or to the documentation of the routes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from service.http.access import PAGE

router = APIRouter()


def mount_page(app: FastAPI, page: ASGIApp) -> None:
    """Serve a page for trying the server; `/` redirects to it."""
    app.mount(PAGE, page)
    app.state.home = f"{PAGE}/"


@router.get("/", include_in_schema=False)
async def home(request: Request) -> RedirectResponse:
    """Redirect to the mounted page, else to /docs."""
    return RedirectResponse(getattr(request.app.state, "home", "/docs"))
