"""What every panel shows of an answer: pictures, figures, JSON, and the commands that send the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of an answer. picture: the image and the answer over it. html: figures, or what is wrong."""

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
        """What a handler returns to show an answer."""
        picture = gr.update(value=shown.picture, visible=shown.picture is not None)
        return [picture, shown.html, shown.json, shown.curl, shown.python]


def make_results(name: str) -> Results:
    """The controls that show a panel's answers. name: of the panel, for ids that are unique on the page."""
    picture = gr.ImageSlider(
        label="The image, and the answer over it",
        type="pil",
        format="png",
        visible=False,
        interactive=False,
        max_height=560,
        elem_id=f"{name}-picture",
    )
    html = gr.HTML(elem_id=f"{name}-answer")
    with gr.Accordion("The same from a shell and from Python", open=False, elem_id=f"{name}-same"):
        curl = gr.Code(label="curl", language="shell", interactive=False, wrap_lines=True, elem_id=f"{name}-curl")
        python = gr.Code(
            label="Python", language="python", interactive=False, wrap_lines=True, elem_id=f"{name}-python"
        )
    with gr.Accordion("The answer as JSON", open=False):
        json = gr.Code(label="JSON", language="json", interactive=False, wrap_lines=True, elem_id=f"{name}-json")
    return Results(picture, html, json, curl, python)
