"""Image files of every supported format, whole and damaged."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from backbones.errors import InvalidInput
from service.inputs.images import decode_image
from service.settings.groups import LimitSettings

Mutation = Callable[[bytes, random.Random], bytes]

# Small, so that a header with a false size costs little.
LIMITS = LimitSettings(max_image_pixels=1_000_000)
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seed_images() -> dict[str, bytes]:
    """Whole files: name -> bytes, in every format, colour mode and compression that has a decoder of its own."""
    pixels = np.random.default_rng(11).integers(0, 256, (18, 24, 3), dtype=np.uint8)
    pixels[4:14, 6:10] = 250
    picture = Image.fromarray(pixels)
    flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    grey16 = Image.fromarray((np.arange(18 * 24, dtype=np.uint16) * 150).reshape(18, 24))
    turned = Image.Exif()
    turned[0x0112] = 6

    def several(form: str) -> bytes:
        # Copies: saving leaves options of one format on an image, which another takes for its own.
        return _file(picture.copy(), form, save_all=True, append_images=[flipped.copy(), picture.copy()])

    return {
        "plain.jpg": _file(picture, "JPEG"),
        "progressive.jpg": _file(picture, "JPEG", progressive=True, quality=90),
        "cmyk.jpg": _file(picture.convert("CMYK"), "JPEG"),
        "grey.jpg": _file(picture.convert("L"), "JPEG"),
        "turned.jpg": _file(picture, "JPEG", exif=turned),
        "several.mpo": several("MPO"),
        "rgb.png": _file(picture, "PNG"),
        "alpha.png": _file(picture.convert("RGBA"), "PNG"),
        "grey16.png": _file(grey16, "PNG"),
        "palette.png": _file(palette, "PNG", transparency=3),
        "bilevel.png": _file(picture.convert("1"), "PNG"),
        "interlaced.png": _encode_interlaced(),
        "animated.png": several("PNG"),
        "lossy.webp": _file(picture, "WEBP", quality=50),
        "lossless.webp": _file(picture.convert("RGBA"), "WEBP", lossless=True),
        "animated.webp": several("WEBP"),
        "rgb.bmp": _file(picture, "BMP"),
        "palette.bmp": _file(palette, "BMP"),
        "raw.tif": _file(picture, "TIFF"),
        "lzw.tif": _file(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _file(picture, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _file(picture, "TIFF", compression="jpeg"),
        "packbits.tif": _file(picture, "TIFF", compression="packbits"),
        "fax.tif": _file(picture.convert("1"), "TIFF", compression="group4"),
        "grey16.tif": _file(grey16, "TIFF"),
        "cmyk.tif": _file(picture.convert("CMYK"), "TIFF"),
        "pages.tif": several("TIFF"),
        "plain.gif": _file(palette, "GIF"),
        "animated.gif": several("GIF"),
    }


def truncate(data: bytes, chance: random.Random) -> bytes:
    """The file without its end."""
    return data[: chance.randrange(len(data))]


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """The file with one to thirty-two flipped bits."""
    changed = bytearray(data)
    for _ in range(2 ** chance.randrange(6)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def edit_header(data: bytes, chance: random.Random) -> bytes:
    """The file with extreme numbers, of either byte order, in its first hundred bytes: sizes, offsets, counts."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        form = chance.choice((">B", ">H", "<H", ">I", "<I"))
        size = struct.calcsize(form)
        place = chance.randrange(max(1, min(100, len(changed)) - size))
        number = chance.choice(_EXTREMES) & (256**size - 1)
        struct.pack_into(form, changed, place, number)
    return bytes(changed)


def repeat_part(data: bytes, chance: random.Random) -> bytes:
    """The file with one part repeated several times."""
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.randint(1, 400))
    return data[:end] + data[start:end] * chance.randint(1, 20) + data[end:]


def remove_part(data: bytes, chance: random.Random) -> bytes:
    """The file without a part of its middle."""
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 200) :]


def splice(data: bytes, chance: random.Random) -> bytes:
    """The beginning of the file, and random bytes from there on."""
    cut = chance.randrange(len(data))
    return data[:cut] + chance.randbytes(len(data) - cut)


MUTATIONS: tuple[Mutation, ...] = (truncate, flip_bits, edit_header, repeat_part, remove_part, splice)


def damage_images(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files with names that say how they came about; the same for the same seed.

    Every whole file is damaged in every way in turn; one in four is damaged twice.
    """
    whole = list(seed_images().items())
    for index in range(count):
        chance = random.Random(f"{seed} {index}")
        name, data = whole[index % len(whole)]
        first = MUTATIONS[index // len(whole) % len(MUTATIONS)]
        mutations = [first, chance.choice(MUTATIONS)] if index % 4 == 3 else [first]
        for mutation in mutations:
            data = mutation(data, chance) if data else data
        yield f"{index} {name} {' '.join(mutation.__name__ for mutation in mutations)}", data


def crash(data: bytes) -> str:
    """What is wrong with how `decode_image` takes these bytes; empty if it reads or refuses them as it promises."""
    try:
        decoded = decode_image(data, LIMITS)
    except InvalidInput as error:
        return "" if error.message and error.hint else f"a refusal that tells nothing: {error!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    height, width, channels = decoded.array.shape
    if decoded.array.dtype != np.uint8 or channels != 3 or (decoded.width, decoded.height) != (width, height):
        return f"an array of {decoded.array.shape} {decoded.array.dtype} for {decoded.width} x {decoded.height}"
    if width * height > LIMITS.max_image_pixels:
        return f"{width} x {height} pixels, more than the limit"
    return ""


def _file(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _encode_interlaced() -> bytes:
    """A grey 8 x 8 PNG in Adam7 passes, which Pillow reads but does not write."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    rows = b"".join((b"\0" + bytes(range(width))) * height for width, height in passes)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def many_scans(width: int, more: int, *, height: int | None = None) -> bytes:
    """A blank progressive JPEG that repeats its last scan `more` times: each is a pass over all pixels."""
    file = BytesIO()
    Image.new("L", (width, height or width), 128).save(file, "JPEG", progressive=True, quality=75)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    scan = data[data.rindex(b"\xff\xc4", 0, last) : -2]
    return data[:-2] + scan * more + data[-2:]


def kind(name: str) -> str:
    """The media type of a seed by its ending."""
    ending = re.split(r"[. ]", name)[-1]
    return {"jpg": "image/jpeg", "mpo": "image/jpeg", "tif": "image/tiff"}.get(ending, f"image/{ending}")
