"""The boxes that a source gives for an image, in the pixels of the upright image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backbones.errors import InvalidInput
from heads.inputs import DecodedImage

Box = Sequence[float]


def place_boxes(fields: Mapping[str, Any], image: DecodedImage) -> tuple[list[list[float]], str]:
    """Boxes (x, y, width, height) of a source as boxes of the upright image, and a note on how they were read.

    Tools that ignore EXIF annotate the image as it is stored. The size in the source tells which of the two was
    annotated.
    Raises InvalidInput if it is the size of neither: boxes of another scale would give wrong results without an error.
    """
    boxes = [list(box["bbox"]) for box in fields["boxes"]]
    size = fields.get("source_size")
    upright, turned = [image.width, image.height], image.exif_orientation > 1
    stored = upright[::-1] if image.exif_orientation >= 5 else upright
    if not boxes:
        return boxes, ""
    if size is not None and list(size) not in (upright, stored):
        raise InvalidInput(
            "image",
            f"the source says {size[0]} x {size[1]} pixels, and the image has {image.width} x {image.height}: "
            "its boxes belong to another image",
            hint="annotate the image in this size",
        )
    if not turned:
        return boxes, ""
    if size is not None and list(size) != upright:
        width, height = stored
        return [turn_box(box, image.exif_orientation, width, height) for box in boxes], (
            f"boxes were turned with the image, whose EXIF orientation is {image.exif_orientation}"
        )
    if size is not None and upright != stored:
        return boxes, ""
    return boxes, (
        f"the image was turned by its EXIF orientation {image.exif_orientation}, and its size does not tell whether "
        "its boxes were, too: they were taken as of the upright image"
    )


def turn_box(box: Box, orientation: int, width: int, height: int) -> list[float]:
    """A box x, y, width, height of a stored image, in its upright image.

    orientation: EXIF's, 1 to 8. width, height: of the stored image.
    """
    x, y, w, h = box
    right, below = width - x - w, height - y - h
    return {
        1: [x, y, w, h],
        2: [right, y, w, h],
        3: [right, below, w, h],
        4: [x, below, w, h],
        5: [y, x, h, w],
        6: [below, x, h, w],
        7: [below, right, h, w],
        8: [y, right, h, w],
    }[orientation]
