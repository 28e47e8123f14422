"""service/inputs/images.py: every kind of picture in, upright RGB out, or a refusal that says what to send."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from backbones.errors import InvalidInput
from service.inputs.images import decode_image
from service.settings.groups import LimitSettings

LIMITS = LimitSettings()


def encode_image(array: NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def test_every_odd_image_becomes_rgb(odd_images: dict[str, bytes]) -> None:
    for name, data in odd_images.items():
        decoded = decode_image(data, LIMITS)
        assert decoded.array.shape == (decoded.height, decoded.width, 3), name
        assert decoded.array.dtype == np.uint8, name
        assert decoded.array.flags.writeable, name


def test_every_bad_image_is_refused_with_what_to_send(bad_images: dict[str, bytes]) -> None:
    for name, data in bad_images.items():
        with pytest.raises(InvalidInput) as raised:
            decode_image(data, LIMITS, field=name)
        assert raised.value.field == name
        assert raised.value.hint, name


@pytest.mark.parametrize("name", ["turned.jpg", "turned.tif", "turned.webp"])
def test_exif_orientation_is_applied_and_reported(odd_images: dict[str, bytes], name: str) -> None:
    decoded = decode_image(odd_images[name], LIMITS)
    assert (decoded.width, decoded.height, decoded.exif_orientation) == (30, 40, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_brings_the_marked_corner_back(orientation: int) -> None:
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode_image(np.ascontiguousarray(stored), exif=exif), LIMITS)
    np.testing.assert_array_equal(decoded.array, upright)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode_image(encode_image(np.zeros((2, 3, 3), np.uint8), exif=exif), LIMITS).exif_orientation == 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(form: str) -> None:
    values = np.array([[0, 128, 257, 32768, 65278, 65535]], np.uint16)
    decoded = decode_image(encode_image(values, form), LIMITS)
    assert decoded.array[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255]


def test_transparency_is_laid_over_white() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    decoded = decode_image(encode_image(pixels), LIMITS)
    assert decoded.array[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_palette_entry_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    file = BytesIO()
    image.save(file, "PNG", transparency=1)
    assert decode_image(file.getvalue(), LIMITS).array[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "pages.tif"])
def test_of_several_frames_the_first_is_read_and_the_rest_reported(
    odd_images: dict[str, bytes], picture: Image.Image, name: str
) -> None:
    decoded = decode_image(odd_images[name], LIMITS)
    assert decoded.more_frames
    expected = np.asarray(picture).astype(int)
    assert np.abs(decoded.array.astype(int) - expected).mean() < 40
    mirrored = np.abs(decoded.array.astype(int) - expected[:, ::-1]).mean()
    assert mirrored > np.abs(decoded.array.astype(int) - expected).mean()


def test_one_pixel_is_an_image(odd_images: dict[str, bytes]) -> None:
    assert decode_image(odd_images["one_pixel.png"], LIMITS).array.tolist() == [[[255, 0, 0]]]


def test_the_limit_of_pixels_is_reported(bad_images: dict[str, bytes]) -> None:
    with pytest.raises(InvalidInput, match=r"8000 x 8000 pixels; the limit is 50,000,000"):
        decode_image(bad_images["larger_than_the_setting.png"], LIMITS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_files_are_decoded_or_refused_and_nothing_else(
    odd_images: dict[str, bytes], data: st.DataObject
) -> None:
    whole = bytearray(odd_images[data.draw(st.sampled_from(sorted(odd_images)))])
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidInput):
        decode_image(bytes(whole), LIMITS)


def with_text(kind: str) -> bytes:
    """A PNG of one pixel with 1.5 MB of text or colour profile, which take a few kB."""
    info = PngImagePlugin.PngInfo()
    options: dict[str, Any] = {}
    if kind == "iCCP":
        options["icc_profile"] = bytes(1_500_000)
    elif kind == "zTXt":
        info.add_text("workflow", "node " * 300_000, zip=True)
    elif kind == "tEXt":
        info.add_text("workflow", "node " * 300_000)
    else:
        info.add_itxt("workflow", "node " * 300_000, zip=True)
    return encode_image(np.full((1, 1, 3), 7, np.uint8), pnginfo=info, **options)


@pytest.mark.field
@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "tEXt", "iCCP"])
def test_a_png_with_long_texts_is_read(kind: str) -> None:
    assert decode_image(with_text(kind), LIMITS).array.tolist() == [[[7, 7, 7]]]


@pytest.mark.field
def test_opacity_is_kept_beside_the_pixels() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    opacity = decode_image(encode_image(pixels), LIMITS).opacity
    assert opacity is not None
    assert opacity.tolist() == [[255, 0]]
    pixels[..., 3] = 255
    assert decode_image(encode_image(pixels), LIMITS).opacity is None
