"""Pictures and maps from local files, and the parts of a PNG that are no pixels."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from backbones.errors import InvalidInput
from heads.pixels import drop_texts, read_class_map, read_picture
from service.inputs.images import decode_image
from service.settings.groups import LimitSettings

pytestmark = pytest.mark.field


def save(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def odd_pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 2_000_000, zip=True)
    return {
        "alpha": save(Image.fromarray(pixels)),
        "sixteen": save(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)),
        "turned": save(Image.fromarray(pixels[..., :3]), exif=exif),
        "palette": save(Image.fromarray(pixels[..., :3]).quantize(8), transparency=0),
        "texts": save(Image.fromarray(pixels[..., :3]), pnginfo=info),
    }


@pytest.mark.parametrize("name", list(odd_pictures()))
def test_a_file_is_read_as_the_server_reads_it(tmp_path: Path, name: str) -> None:
    data = odd_pictures()[name]
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), decode_image(data, LimitSettings()).array)


def test_a_class_map_is_indices(tmp_path: Path) -> None:
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(indices).convert("L")
    image.save(tmp_path / "grey.png")
    palette = Image.frombytes("P", (3, 2), indices.tobytes())
    palette.putpalette([value for index in range(6) for value in (255 - index, 3, index)])
    palette.save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        np.testing.assert_array_equal(read_class_map(tmp_path / name), indices)
    Image.new("RGB", (3, 2)).save(tmp_path / "colours.png")
    with pytest.raises(InvalidInput, match="has colours"):
        read_class_map(tmp_path / "colours.png")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    for read in (read_picture, read_class_map):
        with pytest.raises(InvalidInput) as raised:
            read(tmp_path / "a.png")
        assert raised.value.field.endswith("a.png")


def test_only_texts_and_profiles_are_dropped() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("author", "somebody")
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    exif = Image.Exif()
    exif[0x0112] = 3
    data = save(Image.new("RGBA", (3, 2), (1, 2, 3, 4)), pnginfo=info, icc_profile=b"profile", exif=exif)
    dropped = drop_texts(data)
    for chunk, stays in {b"tEXt": False, b"iCCP": False, b"iTXt": True, b"eXIf": True, b"IDAT": True}.items():
        assert (chunk in data, chunk in dropped) == (True, stays)
    assert Image.open(BytesIO(dropped)).getpixel((0, 0)) == (1, 2, 3, 4)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt"])
def test_other_bytes_stay_as_they_are(data: bytes) -> None:
    assert drop_texts(data) == data


def raw_png(bits: int, colour: int, width: int, row: bytes, clear: bytes) -> bytes:
    """A PNG of one row whose transparent colour is `clear`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", clear) + pixels + chunk(b"IEND", b"")


def test_a_clear_colour_of_sixteen_bits_is_clear() -> None:
    grey = decode_image(raw_png(16, 0, 3, struct.pack(">3H", 65535, 32896, 0), struct.pack(">H", 0)), LimitSettings())
    assert grey.array[0, :, 0].tolist() == [255, 128, 255]
    assert (
        grey.mask[0].max(axis=-1).tolist()
        == decode_image(raw_png(8, 0, 3, bytes([255, 128, 0]), struct.pack(">H", 0)), LimitSettings())
        .mask[0]
        .max(axis=-1)
        .tolist()
    )
    colours = struct.pack(">6H", 65535, 32896, 255, 1, 2, 3)
    rgb = decode_image(raw_png(16, 2, 2, colours, colours[:6]), LimitSettings())
    assert rgb.array[0].tolist() == [[255, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_turned_over(bits: int) -> None:
    values = np.array([0, 51, 255], np.uint16) * (257 if bits == 16 else 1)
    data = values.astype(np.uint16 if bits == 16 else np.uint8).tobytes()
    tags = {256: 3, 257: 1, 258: bits, 259: 1, 262: 0, 273: 8, 277: 1, 278: 1, 279: len(data)}
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    data += bytes(len(data) % 2)
    tiff = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + listed + bytes(4)
    assert decode_image(tiff, LimitSettings()).array[0, :, 0].tolist() == [255, 204, 0]


def test_a_class_map_may_have_long_texts(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 2_000_000, zip=True)
    (tmp_path / "a.png").write_bytes(save(Image.new("L", (3, 2), 7), pnginfo=info))
    assert read_class_map(tmp_path / "a.png").tolist() == [[7] * 3] * 2


@pytest.mark.parametrize("packed", [True, False])
def test_an_orientation_in_a_text_counts_unless_the_text_is_long(packed: bool) -> None:
    xmp = '<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>6</tiff:Orientation>'
    for spaces, width in ((10, 2), (2_000_000, 3)):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp + " " * spaces + "</x>", zip=packed)
        assert decode_image(save(Image.new("RGB", (3, 2)), pnginfo=info), LimitSettings()).width == width
