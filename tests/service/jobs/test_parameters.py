"""A job's parameters: all options of the task, without the fields of a single request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backbones.errors import InvalidInput, ModelNotFound
from heads.diffusion_classifier import zero_shot
from heads.sdpose import pose
from service.jobs.parameters import complete_parameters, read_options, require_task, take_model

if TYPE_CHECKING:
    from tests.conftest import Server


def test_defaults_of_the_server_are_filled_in(server: Server) -> None:
    parameters = asyncio.run(complete_parameters(server.state, "zero-shot", {"labels": ["cat", "dog"]}))
    head = server.state.models.get_open(zero_shot.TASK).head
    assert parameters["templates"] == list(head.templates)
    assert parameters["temperature"] == head.temperature
    assert asyncio.run(complete_parameters(server.state, "zero-shot", parameters)) == parameters


def test_a_job_names_its_model(server: Server) -> None:
    values = {"labels": ["cat", "dog"], "model": "pocket"}
    parameters = asyncio.run(complete_parameters(server.state, "zero-shot", values))
    assert parameters["model"] == "pocket"
    assert take_model(parameters)[0] == "pocket"
    with pytest.raises(ModelNotFound, match="no model 'sd15'"):
        asyncio.run(complete_parameters(server.state, "zero-shot", {**values, "model": "sd15"}))
    with pytest.raises(InvalidInput, match="not a string"):
        asyncio.run(complete_parameters(server.state, "zero-shot", {**values, "model": 3}))


def test_texts_of_a_form_are_read_as_json_values_are() -> None:
    from_texts = read_options(pose.TASK, [("boxes", "[[1, 2, 3, 4]]"), ("flip_test", "true")])
    assert from_texts == read_options(pose.TASK, {"boxes": [[1, 2, 3, 4]], "flip_test": True})


@pytest.mark.parametrize(
    ("values", "field"),
    [({"coordinates": "normalised"}, "coordinates"), ({"crops": "affine"}, "crops"), ({"crop": "round"}, "crop")],
)
def test_an_option_that_no_job_has_is_refused_with_those_that_exist(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_options(pose.TASK, values)
    assert caught.value.field == field
    assert "keypoint_threshold" in caught.value.hint
    assert "coordinates" not in caught.value.hint


def test_a_name_that_is_no_task_is_refused(server: Server) -> None:
    with pytest.raises(InvalidInput, match="not a task"):
        require_task(server.state, "zero_shot")
