"""Where `/` leads."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from service.api.home import mount_page
from service.app import create_app
from service.settings.loader import load_settings


def test_the_root_leads_to_the_page_that_is_mounted_else_to_the_documentation() -> None:
    app = create_app(load_settings())
    client = TestClient(app, follow_redirects=False)
    assert client.get("/").headers["location"] == "/docs"
    mount_page(app, PlainTextResponse("the page"))
    assert client.get("/").headers["location"] == "/playground/"
    assert client.get("/playground/").text == "the page"
    assert "/" not in app.openapi()["paths"]
