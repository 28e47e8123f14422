"""Examples of a thing: pictures with the thing painted over, for one request or kept as a named concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffsight_client import ClientError
from playground import report
from playground.drawing import PALETTE, paint
from playground.state import SAMPLES, Page

SUPPORTS = ("support_images", "support_masks")
"""Fields of a request for examples and for their masks."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its mask, as PNG files."""

    image: bytes
    mask: bytes


def support_painter(page: Page, name: str) -> Any:
    """Controls to paint examples. Returns the state that holds the list of them."""
    examples = gr.State([])
    gr.Markdown("Choose a picture, paint over the thing in it, and add it as an example.")
    editor = gr.ImageEditor(
        type="pil",
        image_mode="RGBA",
        format="png",
        label="Example",
        sources=["upload", "clipboard"],
        brush=gr.Brush(default_size=14, colors=["#ff3b30"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=14),
        transforms=(),
        layers=False,
        height=360,
        buttons=[],
        elem_id=f"{name}-painter",
    )
    with gr.Accordion("A mask from a file instead", open=False):
        mask = gr.Image(
            type="pil",
            image_mode="L",
            label="Its mask: the thing white, the rest black",
            height=160,
            elem_id=f"{name}-mask",
            buttons=[],
        )
        sample = gr.Button("Take the sample: a red cross and its mask", size="sm", elem_id=f"{name}-sample-support")
    with gr.Row():
        add = gr.Button("Add this example", elem_id=f"{name}-add")
        clear = gr.Button("Start over", elem_id=f"{name}-clear")
    shown = gr.Gallery(
        label="Examples so far",
        columns=4,
        height=200,
        object_fit="contain",
        elem_classes="ds-gallery",
        interactive=False,
        buttons=[],
        visible=False,
        elem_id=f"{name}-examples",
    )
    message = gr.HTML(elem_id=f"{name}-example-message")
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    add.click(_add, [editor, mask, examples], [examples, shown, message, mask], **private)
    clear.click(
        lambda: ([], gr.update(value=[], visible=False), "", None, None),
        None,
        [examples, shown, message, editor, mask],
        **private,
    )
    sample.click(lambda: (_editor_value(), _sample_mask()), None, [editor, mask], **private)
    if "concepts" in page.description.lists:
        _concept_row(page, name, examples, message)
    return examples


def _concept_row(page: Page, name: str, examples: Any, message: Any) -> None:
    """Controls that keep the examples as a concept. message: where what came of it is shown."""
    with gr.Row():
        title = gr.Textbox(label="Name of the concept", placeholder="cross", elem_id=f"{name}-concept-name")
        save = gr.Button("Keep the examples as a concept", elem_id=f"{name}-keep")

    def keep(key: str, title: str, kept: Sequence[Example]) -> str:
        return keep_concept(page, key, title, kept)

    save.click(keep, [page.key, title, examples], message, api_visibility="private", concurrency_limit=None)


def keep_concept(page: Page, key: str, title: str, examples: Sequence[Example]) -> str:
    """Keep examples on the server under a name; returns what came of it as HTML."""
    if not examples:
        return report.advise("Add an example first: paint over the thing, then press “Add this example”.")
    images = [("images", example.image) for example in examples] + [("masks", example.mask) for example in examples]
    try:
        with page.server(key) as server:
            concept = server.post("/v1/concepts", {"name": title}, images).json()
    except ClientError as error:
        return report.show_problem(error)
    shots = len(concept.get("shots", ()))
    kept = f"Kept as “{concept['name']}”, {shots} example{'' if shots == 1 else 's'}: choose it under Concepts."
    return report.note(kept) + "".join(map(report.note, concept.get("notes", ())))


def _add(
    painted: dict[str, Any] | None, mask: Image.Image | None, examples: list[Example]
) -> tuple[Any, Any, str, Any]:
    background = (painted or {}).get("background")
    if background is None:
        return examples, gr.skip(), report.advise("Choose a picture to paint in first."), gr.skip()
    picture = background.convert("RGB")
    inside = mask_of(painted or {}, mask, picture.size)
    if not inside.any():
        return examples, gr.skip(), report.advise("Paint over the thing first, or take a mask from a file."), gr.skip()
    examples = [*examples, Example(png_of(picture), png_of(Image.fromarray(inside.astype(np.uint8) * 255)))]
    pictures = [_outline(example) for example in examples]
    return examples, gr.update(value=pictures, visible=True), "", None


def mask_of(painted: dict[str, Any], mask: Image.Image | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where was painted (H, W), in any layer, or what a mask from a file has white."""
    inside = np.zeros(size[::-1], bool)
    for layer in painted.get("layers") or ():
        inside |= np.asarray(layer.convert("RGBA").resize(size, Image.Resampling.NEAREST))[..., 3] > 127
    if mask is not None and not inside.any():
        levels = np.asarray(mask.convert("L").resize(size, Image.Resampling.NEAREST))
        inside = (levels >= max(int(levels.max()), 1) / 2) & (levels > 0)
    return inside


def png_of(image: Image.Image) -> bytes:
    """A PNG file of an image."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _outline(example: Example) -> Image.Image:
    picture = Image.open(BytesIO(example.image)).convert("RGB")
    inside = np.asarray(Image.open(BytesIO(example.mask)).convert("L")) > 0
    return paint(picture, [inside], [PALETTE[0]])


def _editor_value() -> dict[str, Any]:
    picture = Image.open(SAMPLES / "cross-red.png").convert("RGBA")
    return {"background": picture, "layers": [], "composite": picture}


def _sample_mask() -> Image.Image:
    return Image.open(Path(SAMPLES / "masks" / "cross-red.png")).convert("L")
