"""Regions of one image, and their places in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.inputs.images import decode_image
from service.protocols.label_studio_regions import bound_region, read_drawing
from service.settings.groups import LimitSettings


@pytest.fixture(scope="module")
def image(png: bytes) -> DecodedImage:
    return decode_image(png, LimitSettings())  # 40 x 30 pixels


def test_a_turned_rectangle_is_the_upright_box_around_it(image: DecodedImage) -> None:
    upright = {"x": 25.0, "y": 50.0, "width": 50.0, "height": 20.0}
    assert bound_region({"value": upright}, image) == pytest.approx([10, 15, 20, 6])
    # A quarter turn clockwise around the upper left corner: to the left of it, and down.
    assert bound_region({"value": upright | {"rotation": 90}}, image) == pytest.approx([4, 15, 6, 20])
    x, y, width, height = bound_region({"value": upright | {"rotation": 30}}, image)
    assert (width, height) == pytest.approx((20 * np.cos(np.pi / 6) + 3, 10 + 6 * np.cos(np.pi / 6)))
    assert (x, y) == pytest.approx((7, 15))


@pytest.mark.parametrize("value", [None, 3, {}, {"x": "a"}, {"x": 1, "y": None, "width": 1, "height": 1}])
def test_a_rectangle_without_its_numbers_is_refused(image: DecodedImage, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        bound_region({"value": value}, image)
    assert caught.value.field == "params"


def test_points_name_their_rectangles() -> None:
    point = {"type": "keypointlabels", "parentID": "a"}
    drawing = read_drawing([{"id": "b"}, {}, 7, point], [{"type": "keypointlabels"}, None, point | {"parentID": "c"}])
    assert drawing.parents == {"a", "c"}
    assert [region["id"] for region in drawing.regions] == ["b", "drawn-1", "drawn-2"]
