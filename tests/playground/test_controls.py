"""Options as controls."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from playground.controls import make_control, make_list_choice
from playground.options import Option


@pytest.mark.parametrize(
    ("option", "kind", "value"),
    [
        (Option("flip", "flag", default=True), gr.Checkbox, True),
        (Option("loss", "choice", default="l2", choices=("l2", "l1")), gr.Radio, "l2"),
        (Option("scheme", "choice", choices=("schedule", "race")), gr.Dropdown, ""),
        (Option("windows", "whole", default=2, minimum=1, maximum=64), gr.Slider, 2),
        (Option("temperature", "number", minimum=0), gr.Textbox, ""),
        (Option("labels", "lines"), gr.Textbox, ""),
        (Option("timesteps", "lines", default=[100, 200]), gr.Textbox, "100\n200"),
        (Option("tree", "json"), gr.Textbox, None),
    ],
)
def test_each_kind_has_its_control(option: Option, kind: type[Any], value: Any) -> None:
    control = make_control(option, "a-control")
    assert type(control) is kind
    assert control.value == value
    assert control.label == option.label


def test_several_ids_are_chosen_for_a_list() -> None:
    assert make_list_choice(Option("concepts", "lines"), "a").multiselect
    assert not make_list_choice(Option("classifier", "text"), "b").multiselect
