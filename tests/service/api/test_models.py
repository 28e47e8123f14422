"""GET /v1/models on the real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.tasks import TASKS

if TYPE_CHECKING:
    from tests.conftest import Server


def test_models_describes_the_backbone_and_the_engine(server: Server) -> None:
    answer = server.client.get("/v1/models").json()
    assert answer["backbone"]["name"] == "pocket"
    assert answer["backbone"]["device"] == "cpu"
    assert answer["backbone"]["training_steps"] == 1000
    assert [task["task"] for task in answer["tasks"]] == [task.name for task in TASKS]
    assert answer["engine"]["max_waiting_rows"] == server.state.settings.engine.max_waiting_rows
