"""A page's forms from the documents of a server, one of which has a task that the page does not know."""

from __future__ import annotations

import asyncio

import gradio as gr
import pytest

from playground.description import ServerDescription, read_description
from playground.page import build_page
from service.app import create_app
from service.settings.loader import load_settings
from service.tasks import TASKS
from tests.service.mean_colour import MEAN_COLOUR


@pytest.fixture(scope="module")
def description() -> ServerDescription:
    return read_description(create_app(load_settings(), tasks=(*TASKS, MEAN_COLOUR)).openapi())


def test_every_task_has_a_form_also_one_that_is_new(description: ServerDescription) -> None:
    forms = {form.name: form for form in description.tasks}
    assert forms.keys() == {task.name for task in (*TASKS, MEAN_COLOUR)}
    new = forms["mean-colour"]
    assert (new.route, new.inputs, new.draws, new.streams) == ("/v1/mean-colour", "image", True, False)
    levels = next(option for option in new.options if option.name == "levels")
    assert (levels.kind, levels.minimum, levels.maximum, levels.default) == ("whole", 2, 256, 256)


def test_forms_say_what_streams_and_what_the_path_holds(description: ServerDescription) -> None:
    forms = {form.name: form for form in description.tasks}
    assert {name for name, form in forms.items() if form.streams} == {"zero-shot", "label-tree"}
    assert forms["classifier"].in_path == ("classifier",)


def test_ids_are_chosen_from_what_is_kept(description: ServerDescription) -> None:
    assert description.lists == {"concepts", "classifiers"}
    options = {option.name: option for form in description.tasks for option in form.options}
    assert description.list_of(options["classifier"]) == "classifiers"
    assert description.list_of(options["concepts"]) == "concepts"
    assert description.list_of(options["labels"]) is None


def test_an_option_that_its_plural_covers_is_left_out(description: ServerDescription) -> None:
    referring = next(form for form in description.tasks if form.name == "referring")
    assert "expressions" in {option.name for option in referring.options}
    assert "expression" not in {option.name for option in referring.options}


def test_the_servers_models_are_choices_of_the_form() -> None:
    document = create_app(load_settings(), tasks=(MEAN_COLOUR,)).openapi()
    served = [document["paths"]["/v1/mean-colour"]["post"]["x-task"] | {"models": ["a", "b"], "defaults": {}}]
    (form,) = read_description(document, served).tasks
    assert next(option for option in form.options if option.name == "model").choices == ("a", "b")


def test_a_page_is_built_for_them_all(description: ServerDescription) -> None:
    async def build() -> set[str]:  # in a loop: Gradio makes one, and leaves it open, if there is none
        blocks = build_page(description, "http://server", public=True).blocks.values()
        return {str(block.label) for block in blocks if isinstance(block, gr.Tab)}

    tabs = asyncio.run(build())
    assert {"Depth", "Mean colour", "Fit a classifier", "Jobs", "Server"} <= tabs
