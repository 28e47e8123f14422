"""Dense results as files and JSON, which read back unchanged."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_fill_holes

from backbones.errors import InvalidInput
from heads.images import distinct_colours
from heads.outputs import (
    METRES_PER_UNIT,
    Rle,
    class_answers,
    class_areas,
    class_map_png,
    class_overlay,
    decode_rle,
    depth_overlay,
    depth_picture,
    depth_png,
    depth_statistics,
    encode_rle,
    mask_answer,
    mask_png,
    masks_overlay,
    npy_file,
    polygons,
)
from heads.results import ClassMap, DepthMap, Masks

# pycocotools decodes by an array protocol that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MASKS = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def open_image(file: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(BytesIO(file)))


@pytest.fixture
def depth() -> DepthMap:
    metres = np.linspace(0.5, 9.5, 300 * 200, dtype=np.float32).reshape(300, 200)
    return DepthMap(metres, 10.0)


@pytest.fixture
def classes() -> ClassMap:
    class_map = np.zeros((200, 300), dtype=np.uint16)
    class_map[:, 200:] = 2
    return ClassMap(class_map, ("floor", "door", "window"), distinct_colours(3), np.full((200, 300), 0.75, np.float32))


def test_depth_as_png_is_exact_to_half_a_millimetre(depth: DepthMap) -> None:
    file = depth_png(depth)
    units = open_image(file)
    assert units.dtype == np.uint16
    assert np.abs(units * METRES_PER_UNIT - depth.metres).max() <= 0.00051
    assert Image.open(BytesIO(file)).info["metres_per_unit"] == "0.001"


def test_depth_beyond_the_scale_stays_at_its_end() -> None:
    units = open_image(depth_png(DepthMap(np.array([[0.0, 1000.0]], np.float32), 1000.0)))
    assert units.tolist() == [[1, 65535]]


def test_depth_statistics_are_those_of_the_metres(depth: DepthMap) -> None:
    statistics = depth_statistics(depth)
    assert (statistics.minimum, statistics.maximum) == (0.5, 9.5)
    assert statistics.median == pytest.approx(5.0, abs=1e-3)
    assert statistics.percentile_5 < statistics.mean < statistics.percentile_95


def test_near_is_brighter_than_far(depth: DepthMap) -> None:
    colours = open_image(depth_picture(depth)).astype(int).sum(axis=2)
    assert colours[0].mean() > colours[150].mean() > colours[-1].mean()
    black = np.zeros((300, 200, 3), dtype=np.uint8)
    assert open_image(depth_overlay(black, depth)).shape == (300, 200, 3)


def test_flat_depth_has_a_picture() -> None:
    assert open_image(depth_picture(DepthMap(np.ones((1, 1), np.float32), 10.0))).shape == (1, 1, 3)


def test_a_class_map_reads_back_with_its_colours(classes: ClassMap) -> None:
    image = Image.open(BytesIO(class_map_png(classes)))
    assert image.mode == "P"
    assert (np.asarray(image) == classes.class_map).all()
    assert (np.asarray(image.convert("RGB"))[0, 299] == classes.palette[2]).all()


def test_more_than_256_classes_take_16_bits() -> None:
    class_map = np.arange(600, dtype=np.uint16).reshape(20, 30)
    names = tuple(str(index) for index in range(600))
    result = ClassMap(class_map, names, distinct_colours(600), np.ones((20, 30), np.float32))
    assert (open_image(class_map_png(result)) == class_map).all()


def test_class_answers_are_those_present_largest_first(classes: ClassMap) -> None:
    assert class_areas(classes) == [(0, 40000), (2, 20000)]
    answers = list(class_answers(classes))
    assert [(answer.name, answer.area, answer.score) for answer in answers] == [
        ("floor", 40000, 0.75),
        ("window", 20000, 0.75),
    ]
    assert answers[1].rle is not None
    assert (decode_rle(answers[1].rle) == (classes.class_map == 2)).all()


def test_an_overlay_shows_colours_and_names(classes: ClassMap) -> None:
    grey = np.full((200, 300, 3), 128, dtype=np.uint8)
    painted = open_image(class_overlay(grey, classes))
    unnamed = ClassMap(classes.class_map, ("", "", ""), classes.palette, classes.probabilities)
    plain = open_image(class_overlay(grey, unnamed))
    assert (plain[0, 0] == np.rint(128 * 0.45 + classes.palette[0] * 0.55)).all()
    assert 0 < (painted != plain).any(axis=2).sum() < 5000


def test_an_overlay_of_masks_leaves_the_rest_alone() -> None:
    grey = np.full((200, 300, 3), 128, dtype=np.uint8)
    mask = np.zeros((1, 200, 300), dtype=bool)
    mask[0, 50:150, 60:250] = True
    painted = open_image(masks_overlay(grey, Masks(mask, ("the red box",), (0.9,))))
    assert (painted[~mask[0]] == 128).all()
    assert (painted[mask[0]] != 128).any(axis=1).all()
    assert (open_image(masks_overlay(grey, Masks(~mask & mask, ("nothing",), (0.0,)))) == 128).all()
    assert (open_image(mask_png(mask[0])) == mask[0] * 255).all()


@settings(deadline=None, max_examples=80, derandomize=True)
@given(MASKS)
def test_run_lengths_read_back_here_and_by_pycocotools(mask: NDArray[np.bool_]) -> None:
    rle = encode_rle(mask)
    assert (decode_rle(rle) == mask).all()
    assert (coco_mask.decode({"size": rle.size, "counts": rle.counts.encode()}).astype(bool) == mask).all()


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.text(max_size=12), st.integers(-1, 40), st.integers(1, 40))
def test_damaged_run_lengths_are_refused_and_never_crash(counts: str, height: int, width: int) -> None:
    with suppress(InvalidInput):
        assert decode_rle(Rle(size=[height, width], counts=counts)).shape == (height, width)


@pytest.mark.parametrize("counts", ["", "0", "~", "é", "@@@@@@@@@@@@", "6", "o"])
def test_run_lengths_that_do_not_fill_the_mask_name_the_field(counts: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_rle(Rle(size=[4, 5], counts=counts), field="support_masks.0")
    assert caught.value.field == "support_masks.0"


@settings(deadline=None, max_examples=120, derandomize=True)
@given(MASKS)
def test_polygons_hold_the_mask_with_its_holes_filled(mask: NDArray[np.bool_]) -> None:
    filled = binary_fill_holes(mask)
    outlines = polygons(mask)
    if not mask.any():
        assert outlines == []
        return
    runs = coco_mask.merge(coco_mask.frPyObjects(outlines, *mask.shape))
    assert (coco_mask.decode(runs).astype(bool) == filled).all()


def test_a_box_has_four_corners() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:9] = True
    (outline,) = polygons(mask)
    assert {tuple(corner) for corner in np.reshape(outline, (-1, 2)).tolist()} == {(3, 2), (9, 2), (9, 5), (3, 5)}
    answer = mask_answer(mask, "box", 0.5, form="polygons")
    assert (answer.area, answer.bbox, answer.rle) == (18, [3, 2, 6, 3], None)
    assert mask_answer(mask & ~mask, "", 0.0).bbox == [0, 0, 0, 0]


def test_arrays_read_back() -> None:
    array = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    assert (np.load(BytesIO(npy_file(array))) == array).all()


def test_neighbouring_colours_differ() -> None:
    colours = distinct_colours(150).astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60
    assert len({tuple(colour) for colour in colours.tolist()}) > 140
