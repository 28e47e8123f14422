"""Bytes of an image file to (H, W, 3) uint8 RGB, upright, bounded before anything is decoded."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.inputs.image_bounds import TimedFile, check_work
from service.settings.groups import LimitSettings

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
_SEND = "send a JPEG, PNG, WebP, BMP, TIFF or GIF file"


def decode_image(data: bytes, limits: LimitSettings, *, field: str = "image") -> DecodedImage:
    """The picture in `data`, of which `field` is the name that the caller gave it.

    16-bit grey is scaled to 8 bits, CMYK converted, transparency laid over white, EXIF orientation applied, and of an
    animation the first frame taken.
    Raises InvalidInput for what is empty, no image, cut short, of another format, or over the limits.
    """
    if not data:
        raise InvalidInput(field, "the image is empty, 0 bytes", hint=_SEND)
    try:
        with Image.open(TimedFile(data, limits.decode_seconds), formats=FORMATS) as image:
            _check_size(image.size, limits, field)
            check_work(image, data, limits.max_image_pixels, field)
            orientation = _orientation(image)
            more_frames = image.format in ("GIF", "PNG", "WEBP", "TIFF") and bool(getattr(image, "is_animated", False))
            name = (image.format or "").replace("MPO", "JPEG")
            image.load()
            # Pillow turns TIFF upright by itself while loading, and then says 1 here.
            array = _rgb(image, _orientation(image), field)
    except InvalidInput:
        raise
    except TimeoutError as error:
        raise InvalidInput(
            field,
            f"the image takes longer than {limits.decode_seconds:g} seconds to decode",
            hint="scale it down, or save it as a usual JPEG or PNG",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("more pixels than any setting allows", limits, field) from error
    except UnidentifiedImageError as error:
        raise InvalidInput(field, f"{len(data)} bytes that are no image of a known format", hint=_SEND) from error
    except Exception as error:
        # Decoders meet hostile bytes with many kinds of exception, of which none is a fault of this program.
        raise InvalidInput(
            field, "the image is damaged or cut short and can not be decoded", hint="send the whole file again"
        ) from error
    return DecodedImage(array, orientation, more_frames, name)


def count_pixels(data: bytes) -> int:
    """Width times height by the file's header; 0 for what `decode_image` will refuse anyway."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # hostile bytes, as below
        return 0


def _check_size(size: tuple[int, int], limits: LimitSettings, field: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InvalidInput(field, f"the image is {width} x {height} pixels", hint=_SEND)
    if width * height > limits.max_image_pixels:
        raise _too_large(f"{width} x {height} pixels", limits, field)
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise InvalidInput(
            field,
            f"{width} x {height} pixels: one side is more than {limits.max_aspect_ratio:g} times the other",
            hint="cut the strip into pieces",
        )


def _too_large(what: str, limits: LimitSettings, field: str) -> InvalidInput:
    return InvalidInput(
        field,
        f"the image has {what}; the limit is {limits.max_image_pixels:,} pixels",
        hint="scale it down first: heads look at a few hundred pixels a side",
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or the block is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block is no reason to refuse a picture that decodes
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _rgb(image: Image.Image, orientation: int, field: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a loaded image, turned upright."""
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode in ("I", "F"):
        raise InvalidInput(
            field,
            f"the image has 32-bit pixels (mode {image.mode}), whose range is not known",
            hint="send 8 or 16 bits",
        )
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return np.array(image, dtype=np.uint8)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey, scaled by 255 / 65535; Pillow's own conversion would clip at 255."""
    grey: NDArray[Any] = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))
