"""The images of a request as controls, by kind of input: the chosen images, and how they are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from playground.panels.supports import SUPPORTS, Example, support_painter
from playground.server import Images
from playground.state import Page, samples

PICTURES = ["image", ".zip"]


class NothingChosen(Exception):
    """An image that is missing before a request can be sent."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a request. image: path of the image under the drawn answer, if there is one.

    names: field and file name of each, for the shown commands.
    """

    images: Images
    names: Sequence[tuple[str, str]]
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class InputControls:
    """Controls, and how their values become images. read: raises NothingChosen. image: the control of the one image."""

    controls: list[Any]
    read: Callable[[Sequence[Any]], Chosen]
    image: Any = None


def image_input(page: Page, name: str) -> InputControls:
    """One image: dropped, pasted, taken with a camera, or a sample."""
    image = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard", "webcam"],
        label="Image",
        height=300,
        buttons=["fullscreen"],
        elem_id=f"{name}-image",
        elem_classes="ds-image",
    )
    gr.Examples(samples(), inputs=[image], label="Samples", examples_per_page=10, elem_id=f"{name}-samples")
    return InputControls([image], lambda values: _choose_image(values[0]), image)


def images_input(page: Page, name: str) -> InputControls:
    """Several images, or a zip of some, with samples to add."""
    files = gr.File(
        file_count="multiple",
        file_types=PICTURES,
        label="Images, or a zip of them",
        height=170,
        elem_id=f"{name}-images",
    )
    preview = gr.Gallery(
        label="Images",
        columns=4,
        height=200,
        object_fit="contain",
        elem_classes="ds-gallery",
        visible=False,
        interactive=False,
        buttons=[],
    )
    files.change(_show_pictures, files, preview, api_visibility="private", show_progress="hidden")
    gr.Examples(
        [[samples()], [samples()[:2]]],
        inputs=[files],
        example_labels=["All sample pictures", "Two sample pictures"],
        label="Samples",
        elem_id=f"{name}-samples",
    )
    return InputControls([files], lambda values: _several_images(values[0]))


def supports_input(page: Page, name: str) -> InputControls:
    """One image, and example images of what to find in it, with masks painted here."""
    query = image_input(page, name)
    with gr.Accordion("Examples of the thing to find", open=True):
        examples = support_painter(page, name)
    return InputControls([*query.controls, examples], _with_supports, query.image)


INPUTS: dict[str, Callable[[Page, str], InputControls]] = {
    "image": image_input,
    "image_texts": image_input,
    "images": images_input,
    "image_supports": supports_input,
}
"""Controls of each kind of input that the page supports."""


def _choose_image(path: str | None) -> Chosen:
    if not path:
        raise NothingChosen("Choose an image first: drop a file, or take a sample.")
    return Chosen([("image", Path(path))], [("image", Path(path).name)], Path(path))


def _several_images(paths: Sequence[str] | None) -> Chosen:
    if not paths:
        raise NothingChosen("Choose images first: drop files or a zip, or take samples.")
    return Chosen([("images", Path(path)) for path in paths], [("image", Path(path).name) for path in paths])


def _with_supports(values: Sequence[Any]) -> Chosen:
    query, examples = _choose_image(values[0]), values[1] or []
    images, names = list(query.images), list(query.names)
    for field, side in zip(SUPPORTS, ("image", "mask"), strict=True):
        images += [(field, _bytes_of(example, side)) for example in examples]
        names += [(field, f"example-{number}-{side}.png") for number in range(1, len(examples) + 1)]
    return Chosen(images, names, query.image)


def _bytes_of(example: Example, side: str) -> bytes:
    return example.image if side == "image" else example.mask


def _show_pictures(paths: Sequence[str] | None) -> Any:
    pictures = [path for path in paths or () if not path.lower().endswith(".zip")]
    return gr.update(value=pictures, visible=bool(pictures))
