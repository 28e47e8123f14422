"""GET /v1/models on the real server."""

from __future__ import annotations

from service.tasks import TASKS
from tests.conftest import Server


def test_models_describes_the_backbone_and_the_engine(server: Server) -> None:
    answer = server.client.get("/v1/models").json()
    assert answer["backbone"]["name"] == "pocket"
    assert answer["backbone"]["device"] == "cpu"
    assert answer["backbone"]["training_steps"] == 1000
    served = [task["task"] for task in answer["tasks"]]
    assert served == [task.name for task in TASKS if task.name not in answer["not_served"]]
    assert answer["not_served"].keys() == {"depth-relative", "normals"}
    assert "diffsight models add marigold-depth" in answer["not_served"]["depth-relative"]
    assert answer["engine"]["max_waiting_rows"] == server.state.settings.engine.max_waiting_rows


def test_a_task_that_is_not_served_answers_with_what_brings_it(server: Server, png: bytes) -> None:
    answer = server.client.post("/v1/normals", files={"image": png})
    assert answer.status_code == 404
    assert "diffsight models add marigold-normals" in answer.json()["hint"]
