"""The server's first page: it leads to the playground, or to the documentation of the routes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from service.http.access import PAGE

router = APIRouter()


def mount_page(app: FastAPI, page: ASGIApp) -> None:
    """Serve a page to try the server on, to which `/` leads from then on."""
    app.mount(PAGE, page)
    app.state.home = f"{PAGE}/"


@router.get("/", include_in_schema=False)
async def home(request: Request) -> RedirectResponse:
    """To the page that is mounted, else to /docs."""
    return RedirectResponse(getattr(request.app.state, "home", "/docs"))
