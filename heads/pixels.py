"""Images of any mode and orientation as (H, W, 3) uint8 RGB, for server, commands and training."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from backbones.errors import InvalidInput

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# What undoes each EXIF orientation (1 is upright).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Texts in which some programs write the orientation.
_KEPT = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")
_LONGEST_TEXT = 1 << 20
_PHOTOMETRIC = 262


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 if there is none or the block is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block must not make an image fail that decodes
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def to_rgb(image: Image.Image, orientation: int, field: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A loaded image, turned upright: (H, W, 3) uint8 RGB, over white; and its opacity (H, W) uint8, None if opaque.

    16-bit grey is scaled to 8 bits. Raises InvalidInput, naming `field`, for 32-bit pixels.
    """
    if image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    elif image.mode == "RGB" and max(_clear_colour(image), default=0) > 255:
        # Pillow reads the upper eight bits of each channel, but keeps the transparent colour at sixteen bits.
        image.info["transparency"] = tuple(value >> 8 for value in _clear_colour(image))
    if image.mode in ("I", "F"):
        raise InvalidInput(
            field,
            f"the image has 32-bit pixels (mode {image.mode}), whose range is not known",
            hint="send 8 or 16 bits",
        )
    opacity: Image.Image | None = None
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        opacity = layered.getchannel("A")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    pixels = np.array(_turn(image.convert("RGB"), orientation), dtype=np.uint8)
    if opacity is None or opacity.getextrema() == (255, 255):
        return pixels, None
    return pixels, np.array(_turn(opacity, orientation), dtype=np.uint8)


def read_picture(file: Path) -> NDArray[np.uint8]:
    """The picture in a local file, (H, W, 3) uint8 RGB, upright. Raises InvalidInput if it cannot be read."""
    try:
        with Image.open(BytesIO(drop_texts(file.read_bytes())), formats=FORMATS) as image:
            image.load()
            return to_rgb(image, read_orientation(image), str(file))[0]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(str(file), f"cannot be read: {error}", hint="check the file, or leave it out") from error


def read_class_map(file: Path) -> NDArray[Any]:
    """A map of class indices in a file, (H, W) whole numbers, upright: grey or a palette, of which the index counts.

    Raises InvalidInput for one in colours, and where it cannot be read.
    """
    try:
        with Image.open(BytesIO(drop_texts(file.read_bytes())), formats=FORMATS) as image:
            image.load()
            values = np.array(_turn(image, read_orientation(image)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(str(file), f"cannot be read: {error}", hint="check the file, or leave it out") from error
    if values.ndim != 2:
        raise InvalidInput(
            str(file), "it has colours, but each pixel must be the number of a class", hint="save it as greyscale"
        )
    return values


def drop_texts(data: bytes) -> bytes:
    """The file without texts and colour profile, if it is a PNG: they do not affect pixels, and Pillow refuses long
    ones.

    Of those that may hold the orientation the first of each kind stays, unless it is long, packed or not.
    """
    if not data.startswith(_PNG):
        return data
    view = memoryview(data)
    kept, start, at = [], 0, len(_PNG)
    wanted = set(_KEPT)
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 12 + length
        kind = bytes(view[at + 4 : at + 8])
        if kind in _TEXTS and end <= len(data):
            keyword = bytes(view[at + 8 : at + 8 + min(length, 80)]).split(b"\0")[0]
            if keyword in wanted and not _is_long(kind, bytes(view[at + 8 : at + 8 + min(length, _LONGEST_TEXT + 1)])):
                wanted.remove(keyword)
            else:
                kept.append(view[start:at])
                start = end
        at = end
    return b"".join([*kept, view[start:]]) if start else data


def _is_long(kind: bytes, text: bytes) -> bool:
    """Whether a text of a PNG, its keyword included, is longer than Pillow reads it, or packed and damaged."""
    if len(text) > _LONGEST_TEXT:
        return True
    _, _, rest = text.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return False
        packed = rest[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        packed = rest[1:]
    else:
        return False
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, _LONGEST_TEXT)
    except zlib.error:
        return True
    return not unpacking.eof


def _clear_colour(image: Image.Image) -> tuple[int, ...]:
    """The transparent colour of a picture without an alpha channel; empty if there is none."""
    colour = image.info.get("transparency")
    return colour if isinstance(colour, tuple) else (colour,) if isinstance(colour, int) else ()


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey, scaled by 255 / 65535; Pillow's own conversion would clip at 255.

    With an opacity where one value is clear. A TIFF whose 0 is white is inverted; Pillow does this only for 8 bits.
    """
    grey: NDArray[Any] = np.asarray(image).astype(np.uint32)
    white_is_zero = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
    eight = Image.fromarray(((grey * 255 + 32767) // 65535 ^ (255 if white_is_zero else 0)).astype(np.uint8))
    if not (clear := _clear_colour(image)):
        return eight
    opacity = Image.fromarray(np.where(grey == clear[0], 0, 255).astype(np.uint8))
    return Image.merge("LA", (eight, opacity))
