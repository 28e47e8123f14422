"""The parts of every task: its route, its options, and what a job stores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from heads.task import JSON
from service.tasks import TASKS
from tests.service.mean_colour import MEAN_COLOUR, MeanColourHead, MeanColourOptions


def test_a_route_is_the_group_before_the_name_or_a_path_of_its_own() -> None:
    assert MEAN_COLOUR.route == "/v1/mean-colour"
    assert replace(MEAN_COLOUR, group="colour").route == "/v1/colour/mean-colour"
    assert replace(MEAN_COLOUR, group="colour", path="colour/{name}/mean").route == "/v1/colour/{name}/mean"


def test_options_refuse_what_they_do_not_know_and_what_is_no_number() -> None:
    for values in ({"level": 4}, {"levels": float("nan")}):
        with pytest.raises(ValidationError):
            MeanColourOptions.model_validate(values)


def test_a_job_keeps_the_answer_unless_the_task_says_otherwise() -> None:
    colour, head, options = np.array([0.0, 0.5, 1.0]), MeanColourHead(), MeanColourOptions()
    assert MEAN_COLOUR.write_item(colour, head, options) == {"red": 0.0, "green": 0.5, "blue": 1.0}
    short = replace(MEAN_COLOUR, to_item=lambda result, head, options: {"mean": float(result.mean())})
    assert short.write_item(colour, head, options) == {"mean": 0.5}


def test_names_and_routes_of_all_tasks_are_their_own() -> None:
    assert len({task.name for task in TASKS}) == len({task.route for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_form_is_a_file_or_an_answer(task: object) -> None:
    forms = task.forms  # type: ignore[attr-defined]
    for name, form in forms.items():
        assert (form.write is None) is not (form.to_answer is None), name
        assert form.to_answer is None or form.media_type == JSON


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_form_has_the_name_of_an_option(task: object) -> None:
    # Both are flags of the command.
    assert not task.forms.keys() & task.options.model_fields.keys()  # type: ignore[attr-defined]
