"""Decode an image file to (H, W, 3) uint8 RGB, upright. Bounds are checked before decoding."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, UnidentifiedImageError

from backbones.errors import InvalidInput, OutOfMemory
from heads.inputs import DecodedImage
from heads.pixels import FORMATS, drop_texts, read_orientation, to_rgb
from service.inputs.image_bounds import TimedFile, check_work
from service.settings.groups import LimitSettings

_SEND = "send a JPEG, PNG, WebP, BMP, TIFF or GIF file"


def decode_image(data: bytes, limits: LimitSettings, *, field: str = "image") -> DecodedImage:
    """The image in `data`. field: its name in problems.

    16-bit grey is scaled to 8 bits, CMYK converted, transparency laid over white, and EXIF orientation applied. Of an
    animation the first frame is read.
    Raises InvalidInput for a file that is empty, not an image, cut short, of another format, or over the limits; and
    OutOfMemory.
    """
    if not data:
        raise InvalidInput(field, "the image is empty, 0 bytes", hint=_SEND)
    try:
        with Image.open(TimedFile(drop_texts(data), limits.decode_seconds), formats=FORMATS) as image:
            _check_size(image.size, limits, field)
            check_work(image, data, limits.max_image_pixels, field)
            orientation = read_orientation(image)
            more_frames = image.format in ("GIF", "PNG", "WEBP", "TIFF") and bool(getattr(image, "is_animated", False))
            name = (image.format or "").replace("MPO", "JPEG")
            image.load()
            # Pillow turns TIFF upright while loading, and then reports 1 here.
            array, opacity = to_rgb(image, read_orientation(image), field)
    except InvalidInput:
        raise
    except MemoryError as error:
        raise OutOfMemory(
            "the image does not fit into the server's memory", hint="scale it down, or send it later"
        ) from error
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
        # Decoders raise many kinds of exceptions for hostile bytes; none is a fault of this program.
        raise InvalidInput(
            field, "the image is damaged or cut short and can not be decoded", hint="send the whole file again"
        ) from error
    return DecodedImage(array, orientation, more_frames, name, opacity)


def count_pixels(data: bytes) -> int:
    """Width times height by the file's header; 0 for files that `decode_image` will refuse."""
    try:
        with Image.open(BytesIO(drop_texts(data)), formats=FORMATS) as image:
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
        hint="scale it down first: the networks read a few hundred pixels on each side",
    )
