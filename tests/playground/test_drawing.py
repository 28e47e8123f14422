"""Answers as pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from heads.outputs import depth_colours, encode_rle
from heads.results import DepthMap
from playground.drawing import PALETTE, colours_of, decode_rle, draw, draw_boxes, read_image


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.new("RGB", (40, 30), (10, 20, 30))


def test_depth_has_nearly_the_colours_of_the_servers_own_picture(image: Image.Image) -> None:
    metres = np.linspace(1, 5, 30 * 40, dtype=np.float32).reshape(30, 40)
    file = io.BytesIO()
    Image.fromarray(np.rint(metres * 1000).astype(np.uint16)).save(file, "PNG")
    drawn = draw(image, {"png16": base64.b64encode(file.getvalue()).decode(), "metres_per_unit": 0.001})
    assert drawn is not None
    difference = np.asarray(drawn, dtype=int) - depth_colours(DepthMap(metres, 10.0))
    assert drawn.size == image.size
    assert np.abs(difference).mean() < 8


def test_a_mask_is_drawn_where_it_is(image: Image.Image) -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:15, 8:20] = True
    rle = encode_rle(mask).model_dump()
    assert (decode_rle(rle) == mask).all()
    drawn = draw(image, {"masks": [{"name": "cup", "rle": rle}]})
    assert drawn is not None
    assert ((np.asarray(drawn) != np.asarray(image)).any(axis=2) == mask).all()


def test_classes_have_the_colours_of_their_palette() -> None:
    answer = {"classes": ["floor", "wall"], "palette": [[1, 2, 3], [4, 5, 6]]}
    assert colours_of(answer, [{"name": "wall"}]) == [(4, 5, 6)]
    assert colours_of({}, [{"name": "wall"}]) == [PALETTE[0]]


def test_persons_and_boxes_are_drawn_on_an_enlarged_image(image: Image.Image) -> None:
    person = {"bbox": [5, 5, 20, 20], "keypoints": [[8, 8], [12, 12]], "keypoint_scores": [0.9, 0.1]}
    drawn = draw(image, {"persons": [person], "links": [[0, 1]]})
    assert drawn is not None
    assert drawn.size == (520, 390)
    assert draw_boxes(image, [[1, 2, 3, 4]], (5, 6)).size == drawn.size


def test_an_answer_without_a_place_in_the_image_is_not_drawn(image: Image.Image) -> None:
    assert draw(image, {"vectors": [[1.0]]}) is None


def test_transparent_images_are_read_on_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(file, "PNG")
    assert read_image(file.getvalue()).getpixel((0, 0)) == (255, 255, 255)
