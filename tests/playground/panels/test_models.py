"""The server's state as tables."""

from __future__ import annotations

from playground.panels.models import show_server
from tests.conftest import Server


def test_the_models_of_a_server_are_listed(server: Server) -> None:
    answer = server.client.get("/v1/models").json()
    shown = show_server(answer)
    for model in answer["models"]:
        assert model["id"] in shown
    for task in answer["tasks"]:
        assert task["route"] in shown
    assert "<code>diffsight models add marigold-normals</code>" in shown
