"""Boxes of stored and of upright images."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.inputs.images import decode_image
from service.jobs.boxes import place_boxes
from service.settings.groups import LimitSettings

pytestmark = pytest.mark.field

BOX = [5.0, 2.0, 6.0, 3.0]


def make_turned_image(orientation: int, size: tuple[int, int] = (20, 12)) -> DecodedImage:
    """An image whose pixels are white in BOX, as it is stored."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[2:5, 5:11] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return decode_image(file.getvalue(), LimitSettings())


def make_fields(**more: Any) -> dict[str, Any]:
    return {"boxes": [{"bbox": BOX}], **more}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_box_of_the_stored_image_is_turned_with_it(orientation: int) -> None:
    image = make_turned_image(orientation)
    boxes, note = place_boxes(make_fields(source_size=[20, 12]), image)
    x, y, w, h = map(int, boxes[0])
    assert image.array[y : y + h, x : x + w].min() == 255
    assert int((image.array > 0).all(axis=2).sum()) == w * h
    assert "were turned" in note


def test_a_box_of_the_upright_image_stays() -> None:
    assert place_boxes(make_fields(source_size=[12, 20]), make_turned_image(6)) == ([BOX], "")
    assert place_boxes(make_fields(source_size=[20, 12]), make_turned_image(1)) == ([BOX], "")
    assert place_boxes(make_fields(), make_turned_image(1)) == ([BOX], "")


@pytest.mark.parametrize(("orientation", "more"), [(3, {"source_size": [20, 12]}), (6, {})])
def test_a_box_of_unknown_orientation_is_noted(orientation: int, more: dict[str, Any]) -> None:
    boxes, note = place_boxes(make_fields(**more), make_turned_image(orientation))
    assert boxes == [BOX]
    assert "taken as of the upright image" in note


def test_boxes_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInput, match="says 640 x 480 pixels, and the image has 20 x 12"):
        place_boxes(make_fields(source_size=[640, 480]), make_turned_image(1))
    assert place_boxes({"boxes": [], "source_size": [640, 480]}, make_turned_image(1)) == ([], "")
