"""Small files that would take minutes or gigabytes to decode."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from backbones.errors import InvalidInput
from service.inputs.image_bounds import TimedFile, count_scans
from service.inputs.images import count_pixels, decode_image
from service.settings.groups import LimitSettings
from tests.fuzz.images import many_scans

LIMITS = LimitSettings()
SHORT, LONG = 3, 4


def tiff(tags: dict[int, tuple[int, int]], data: bytes) -> bytes:
    """A grey TIFF of one part. tags: number -> (type, value)."""
    data += b"\0" * (len(data) % 2)
    listed = b""
    for tag, (kind, value) in sorted(tags.items()):
        listed += struct.pack("<HHI", tag, kind, 1)
        listed += struct.pack("<HH", value, 0) if kind == SHORT else struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + listed + bytes(4)


def grey_tiff(width: int, height: int, compression: int, data: bytes, **part: int) -> bytes:
    tags = {256: (LONG, width), 257: (LONG, height), 258: (SHORT, 8), 259: (SHORT, compression), 262: (SHORT, 1)}
    return tiff(tags | {277: (SHORT, 1)} | {int(tag[1:]): (LONG, value) for tag, value in part.items()}, data)


def test_a_jpeg_of_usual_scans_is_read_and_one_of_thousands_is_not() -> None:
    assert decode_image(many_scans(64, 0), LIMITS).array.shape == (64, 64, 3)
    assert decode_image(many_scans(64, 80), LIMITS).array.shape == (64, 64, 3)
    with pytest.raises(InvalidInput, match="scans") as refused:
        decode_image(many_scans(64, 3000), LIMITS, field="images.3")
    assert refused.value.field == "images.3"


def test_large_pictures_may_have_fewer_scans() -> None:
    with pytest.raises(InvalidInput, match="at most 16 are allowed for its size"):
        decode_image(many_scans(8000, 20, height=8000), LimitSettings(max_image_pixels=64_000_000))


def test_scans_inside_a_tiff_are_counted_too() -> None:
    data = many_scans(64, 200)
    with pytest.raises(InvalidInput, match="scans"):
        decode_image(grey_tiff(64, 64, 7, data, t273=8, t278=64, t279=len(data)), LIMITS)


def test_a_tile_larger_than_any_picture_is_refused() -> None:
    data = zlib.compress(bytes(4096))
    with pytest.raises(InvalidInput, match="tiles of 40000 x 40000"):
        decode_image(grey_tiff(64, 64, 8, data, t322=40_000, t323=40_000, t324=8, t325=len(data)), LIMITS)


def test_the_usual_tiles_and_strips_are_read() -> None:
    data = zlib.compress(bytes(64 * 64))
    assert decode_image(grey_tiff(64, 64, 8, data, t322=64, t323=64, t324=8, t325=len(data)), LIMITS).width == 64
    assert decode_image(grey_tiff(64, 64, 8, data, t273=8, t278=64, t279=len(data)), LIMITS).width == 64


def test_decoding_past_its_seconds_is_given_up() -> None:
    with pytest.raises(InvalidInput, match="takes longer than 1e-09 seconds"):
        decode_image(many_scans(64, 0), LimitSettings(decode_seconds=1e-9))


def test_a_timed_file_reads_as_any_other() -> None:
    file = TimedFile(b"abc", 100.0)
    assert file.read(2) + file.read() == b"abc"


def test_pixels_are_counted_by_the_header() -> None:
    file = BytesIO()
    Image.new("L", (30, 7)).save(file, "PNG")
    assert count_pixels(file.getvalue()) == 210
    assert count_pixels(b"no image") == 0


def test_previews_and_films_around_a_picture_are_no_scans_of_it() -> None:
    data = many_scans(64, 0)
    preview = b"\xff\xda\0" * 20_000
    segment = b"\xff\xed" + struct.pack(">H", len(preview) + 2) + preview
    film = bytes(range(256)) * 100 + b"\xff\xda\0\0" * 500
    phone = data[:2] + segment + data[2:] + film
    assert count_scans(phone) == count_scans(data) == 6
    assert decode_image(phone, LIMITS).array.shape == (64, 64, 3)


@pytest.mark.parametrize("padding", [b"", b"\xff" * 3, b"\xff\xd0"])
def test_no_padding_hides_scans(padding: bytes) -> None:
    data = many_scans(64, 300)
    hidden = data.replace(b"\xff\xda", padding + b"\xff\xda")
    assert count_scans(hidden) == 306
    with pytest.raises(InvalidInput, match="scans"):
        decode_image(hidden, LIMITS)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xe0\xff\xff"]
)
def test_scans_of_what_is_cut_short_are_counted(data: bytes) -> None:
    assert count_scans(data) in (0, 1)


def test_scans_are_counted_across_the_pieces_that_are_searched() -> None:
    data = b"\xff\xd8" + bytes((1 << 20) - 1) + b"\xff\xda\0\2" + b"\xff" * (1 << 20) + b"\xff\xda\0\2\xff\xd9\xff\xda"
    assert count_scans(data) == 2


@pytest.mark.parametrize("keyword", [b"XML:com.adobe.xmp\0\1\0\0\0", b"Comment\0\1\0\0\0"])
def test_packed_texts_keep_no_pixels_from_being_counted(keyword: bytes) -> None:
    file = BytesIO()
    Image.new("L", (30, 7)).save(file, "PNG")
    text = b"iTXt" + keyword + zlib.compress(bytes(3_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    data = file.getvalue()[:33] + chunk * 3 + file.getvalue()[33:]
    assert count_pixels(data) == 210
    assert decode_image(data, LIMITS).array.shape == (7, 30, 3)
