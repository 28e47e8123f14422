"""Boxes that are drawn on an image by two clicks each, or typed as lines of a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from playground.drawing import choose_enlargement, draw_boxes, read_image

Corner = tuple[float, float]


def box_drawer(image: Any, boxes: Any, name: str) -> None:
    """Build a picture on which corners are clicked. image: the control of the image. boxes: the text for the boxes."""
    with gr.Accordion("Draw boxes", open=False, elem_id=f"{name}-draw"):
        gr.Markdown("Click two opposite corners of each box. Without boxes, the server finds the persons itself.")
        canvas = gr.Image(
            type="filepath", interactive=False, label="Corners", height=380, buttons=[], elem_id=f"{name}-canvas"
        )
        clear = gr.Button("Remove all boxes", size="sm", elem_id=f"{name}-clear-boxes")
    corner = gr.State(None)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def pick(event: gr.SelectData, path: str, text: str, first: Corner | None) -> tuple[str, Corner | None, Any]:
        scale = choose_enlargement(read_image(Path(path).read_bytes()))
        place = (event.index[0] / scale, event.index[1] / scale)
        text, first = add_corner(text, first, place)
        return text, first, picture_with(path, text, first)

    canvas.select(pick, [image, boxes, corner], [boxes, corner, canvas], **quiet)
    image.change(lambda path: (None, "", picture_with(path, "", None)), image, [corner, boxes, canvas], **quiet)
    boxes.blur(picture_with, [image, boxes, corner], canvas, **quiet)
    clear.click(lambda path: ("", None, picture_with(path, "", None)), image, [boxes, corner, canvas], **quiet)


def add_corner(text: str, first: Corner | None, place: Corner) -> tuple[str, Corner | None]:
    """The text with the box between two corners added, or the first corner of the next one."""
    if first is None:
        return text, place
    (left, right), (top, bottom) = sorted((first[0], place[0])), sorted((first[1], place[1]))
    box = ", ".join(f"{number:g}" for number in (left, top, right - left, bottom - top))
    return "\n".join(filter(None, (text.strip(), box))), None


def read_boxes(text: str) -> list[list[float]]:
    """The boxes of a text, one on each line; lines that are not boxes are left out."""
    boxes = []
    for line in text.splitlines():
        try:
            numbers = [float(part) for part in line.replace(",", " ").split()]
        except ValueError:
            continue
        if len(numbers) == 4:
            boxes.append(numbers)
    return boxes


def picture_with(path: str | None, text: str, corner: Sequence[float] | None) -> Image.Image | None:
    """The image with the boxes of a text; None if there is no readable image."""
    if not path:
        return None
    try:
        return draw_boxes(read_image(Path(path).read_bytes()), read_boxes(text or ""), corner)
    except OSError:
        return None
