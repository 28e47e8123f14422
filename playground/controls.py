"""Controls for the options of a task, with their bounds and their help."""

from __future__ import annotations

from typing import Any

import gradio as gr

from playground.description import ServerDescription, TaskForm
from playground.options import Option

_LONGEST_SLIDER = 1000
_FEW = 4


def make_control(option: Option, name: str) -> Any:
    """The control of an option, with the option's default. name: its id on the page."""
    shown: dict[str, Any] = {"label": option.label, "info": option.help or None, "elem_id": name}
    match option.kind:
        case "flag":
            return gr.Checkbox(value=bool(option.default), **shown)
        case "choice":
            return _make_choice(option, shown)
        case "whole" | "number":
            return _make_number(option, shown)
        case "lines":
            default = option.default if isinstance(option.default, list) else []
            return gr.Textbox(value="\n".join(map(str, default)), lines=3, placeholder="one a line", **shown)
        case "rows":
            return gr.Textbox(lines=2, placeholder=", ".join(["x", "y", "width", "height"]) + " — one a line", **shown)
        case "json":
            return gr.Textbox(lines=3, placeholder="{ } as JSON", **shown)
    return gr.Textbox(value=option.default or "", lines=1, **shown)


def make_list_choice(option: Option, name: str) -> Any:
    """The control of an option whose values are ids of objects that clients store on the server."""
    return gr.Dropdown(
        choices=[],
        value=None,
        multiselect=option.kind == "lines",
        # An id that is newer than the list can be typed.
        allow_custom_value=True,
        label=option.label,
        info=option.help or None,
        interactive=True,
        elem_id=name,
    )


def _make_choice(option: Option, shown: dict[str, Any]) -> Any:
    if option.default is None:
        choices: list[Any] = [("— as the server does it", ""), *option.choices]
        return gr.Dropdown(choices=choices, value="", **shown)
    if len(option.choices) <= _FEW:
        return gr.Radio(choices=list(option.choices), value=option.default, **shown)
    return gr.Dropdown(choices=list(option.choices), value=option.default, **shown)


def _make_number(option: Option, shown: dict[str, Any]) -> Any:
    whole, low, high = option.kind == "whole", option.minimum, option.maximum
    if option.default is not None and low is not None and high is not None and high - low <= _LONGEST_SLIDER:
        step = 1 if whole else (high - low) / 100
        return gr.Slider(minimum=low, maximum=high, value=option.default, step=step, buttons=[], **shown)
    # A number field shows 0 if it has no value, and rejects values out of bounds without the server's message.
    return gr.Textbox(
        value="" if option.default is None else f"{option.default}", placeholder=_bounds(low, high), **shown
    )


def _bounds(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"{low:g} or more"
    return f"up to {high:g}" if low is None else f"{low:g} to {high:g}"


def split_prominent(form: TaskForm, description: ServerDescription) -> tuple[list[Option], list[Option]]:
    """Splits the options into those that stand beside the image and those that only tune the request.

    The former are the required options, boxes, ids of stored objects and, for tasks with texts, the texts.
    """
    options = form.options
    first = [option for option in options if option.required or option.width == 4 or description.list_of(option)]
    if not first and form.inputs == "image_texts":
        texts = [option for option in options if option.kind in ("text", "lines", "json") and option.default is None]
        first = texts[:1]
    return first, [option for option in options if option not in first]
