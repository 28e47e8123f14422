"""The page as a part of another app."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from playground.mount import PATH, PlaygroundApp, is_installed


def test_a_server_that_says_nothing_gets_a_page_that_waits() -> None:
    page = PlaygroundApp("http://127.0.0.1:9", public=True)
    app = Starlette(routes=[Mount(PATH, page)])
    response = TestClient(app).get(f"{PATH}/")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"
    assert 'http-equiv="refresh"' in response.text
    assert "does not answer yet" in response.text
    page.hang_up()
    page.close()


def test_the_extra_is_there_in_the_tests() -> None:
    assert is_installed()
