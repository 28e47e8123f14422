"""Requests and answers that are built from tasks."""

from __future__ import annotations

import base64
from io import BytesIO

import pytest
from PIL import Image
from pydantic import ValidationError

from service.api.schemas import (
    OTHER_EXAMPLE_IMAGE,
    answer_model,
    files_of,
    options_of,
    request_model,
    title_of,
)
from service.http.openapi import EXAMPLE_IMAGE
from service.tasks import TASKS, AnyTask


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_request_is_the_tasks_options_with_its_images(task: AnyTask) -> None:
    model, answer = request_model(task), answer_model(task)
    assert model.__name__ == f"{title_of(task)}Request"
    assert set(task.options.model_fields) < set(model.model_fields)
    assert set(task.answer.model_fields) | {"rows", "backbone", "timing"} <= set(answer.model_fields)
    (example,) = model.model_json_schema()["examples"]
    body = model.model_validate(example)
    assert options_of(task, body).model_fields_set == set(task.example)
    assert len(files_of(task, body).images) == (2 if task.inputs == "images" else 1)


def test_one_image_or_several_but_not_both() -> None:
    model = request_model(next(task for task in TASKS if task.name == "features"))
    for fields in ({}, {"image": EXAMPLE_IMAGE, "images": [EXAMPLE_IMAGE]}):
        with pytest.raises(ValidationError, match="Send either"):
            model.model_validate(fields)


def test_the_example_images_are_two_different_pictures() -> None:
    first, second = (
        Image.open(BytesIO(base64.b64decode(text))).convert("L") for text in (EXAMPLE_IMAGE, OTHER_EXAMPLE_IMAGE)
    )
    assert first.size == second.size == (16, 16)
    assert first.tobytes() != second.tobytes()
