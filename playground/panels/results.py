"""The parts of an answer that every panel shows: pictures, figures, JSON, and the commands for the same request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from PIL import Image


@dataclass(frozen=True, slots=True)
class Shown:
    """The shown parts of an answer. picture: the image and the answer over it. html: figures, or the problem."""

    html: str = ""
    picture: tuple[Image.Image, Image.Image] | None = None
    json: str = ""
    curl: str = ""
    python: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """The controls that show an answer."""

    picture: Any
    html: Any
    json: Any
    curl: Any
    python: Any

    @property
    def outputs(self) -> list[Any]:
        """The controls in the order of `updates`."""
        return [self.picture, self.html, self.json, self.curl, self.python]

    def updates(self, shown: Shown) -> list[Any]:
        """The return value of a handler that shows an answer."""
        picture = gr.update(value=shown.picture, visible=shown.picture is not None)
        return [picture, shown.html, shown.json, shown.curl, shown.python]


def make_results(name: str) -> Results:
    """The controls that show a panel's answers. name: of the panel, to make ids unique on the page."""
    picture = gr.ImageSlider(
        label="The image, and the answer over it",
        type="pil",
        format="png",
        # Shows most of the answer without scrolling.
        slider_position=10,
        visible=False,
        interactive=False,
        max_height=560,
        elem_id=f"{name}-picture",
    )
    html = gr.HTML(elem_id=f"{name}-answer")
    with gr.Accordion("The same from a shell and from Python", open=False, elem_id=f"{name}-same"):
        curl, python = make_code("curl", "shell", f"{name}-curl"), make_code("Python", "python", f"{name}-python")
    with gr.Accordion("The answer as JSON", open=False):
        json = make_code("JSON", "json", f"{name}-json")
    return Results(picture, html, json, curl, python)


def make_code(label: str, language: Literal["shell", "python", "json"], name: str) -> Any:
    """A text to read and copy. Line numbers would have a wrong layout while the text is folded."""
    return gr.Code(
        label=label,
        language=language,
        interactive=False,
        wrap_lines=True,
        show_line_numbers=False,
        lines=1,
        elem_id=name,
    )
