"""Tasks as models: what their metadata promises."""

from __future__ import annotations

import pytest

from backbones.errors import ModelNotFound
from service.protocols.open_inference_models import describe_model, index_of, outputs_of
from service.tasks import TASKS, AnyTask
from tests.conftest import Server
from tests.service.mean_colour import MEAN_COLOUR


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task.name))
def test_every_task_has_an_image_tensors_and_its_answer(server: Server, task: AnyTask) -> None:
    if task.name in server.client.get("/v1/models").json()["not_served"]:
        with pytest.raises(ModelNotFound, match="diffsight models add"):
            describe_model(server.state, task, None)
        return
    metadata = describe_model(server.state, task, None)
    assert (metadata["name"], metadata["versions"]) == (task.name, ["pocket"])
    assert metadata["inputs"][0] == {"name": "image", "datatype": "BYTES", "shape": [-1]}
    assert [output["name"] for output in metadata["outputs"]][-1] == "answer"
    assert len(metadata["outputs"]) > 1


def test_tasks_without_shipped_weights_have_tensors_too() -> None:
    named = {task.name: list(outputs_of(task)) for task in TASKS}
    assert named["depth-relative"] == ["depth", "answer"]
    assert named["normals"] == ["normals", "answer"]


def test_a_task_without_tensors_of_its_own_gives_its_answer() -> None:
    assert list(outputs_of(MEAN_COLOUR)) == ["answer"]


def test_lists_among_the_options_are_inputs(server: Server) -> None:
    shapes = {
        input_["name"]: (input_["datatype"], input_["shape"])
        for task in TASKS
        for input_ in describe_model(server.state, task, "pocket")["inputs"]
    }
    assert shapes["labels"] == ("BYTES", [-1])
    assert shapes["boxes"] == ("FP64", [-1, 4])
    assert shapes["timesteps"] == ("INT64", [-1])
    assert "support_masks" in shapes


def test_the_index_has_each_task_with_each_model(server: Server) -> None:
    everything = index_of(server.state, ready=False)
    missing = server.client.get("/v1/models").json()["not_served"]
    served = [(task.name, "pocket") for task in TASKS if task.name not in missing]
    assert [(entry["name"], entry["version"]) for entry in everything] == served
    assert index_of(server.state, ready=True) == [entry for entry in everything if entry["state"] == "READY"]
