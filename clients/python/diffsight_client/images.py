"""Files of images from paths, URLs, bytes, open files, numpy arrays and PIL images."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from diffsight_client.errors import BadInput

_ADDRESSES = ("http://", "https://")
_ACCEPTED = "send a path, an https:// address, bytes, an open file, a uint8 array or a PIL image"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's colour types by the number of channels: grey, RGB, RGBA."""


@runtime_checkable
class ArrayLike(Protocol):
    """A numpy array, or an object with its array interface."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


@runtime_checkable
class PictureLike(Protocol):
    """A PIL image."""

    @property
    def mode(self) -> str: ...

    def save(self, fp: Any, format: str | None = None) -> None: ...


@runtime_checkable
class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self) -> bytes: ...


Image = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | PictureLike | ArrayLike
"""One image: a path, an https:// address, the bytes of a file, an open file, (H, W) or (H, W, 1, 3 or 4) uint8 or bool
array, or a PIL image. Paths of zips go where several images go."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send. name: as the server sees it. address: a URL instead of data, which the server downloads."""

    name: str
    data: bytes = b""
    address: str = ""


def upload_of(image: Image) -> Upload:
    """The file of one image. Raises BadInput for other values, and OSError for files that cannot be read."""
    if isinstance(image, str) and image.lower().startswith(_ADDRESSES):
        return Upload("image", address=image)
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return Upload(path.name, path.read_bytes())
    if isinstance(image, bytes | bytearray | memoryview):
        return Upload("image", bytes(image))
    # A PIL image also has the array interface, but without its palette and transparency.
    if isinstance(image, PictureLike):
        file = io.BytesIO()
        image.save(file, format="PNG")
        return Upload("image.png", file.getvalue())
    if isinstance(image, ArrayLike):
        return Upload("image.png", png_of_array(image))
    if isinstance(image, Readable):
        return Upload(Path(str(getattr(image, "name", "image"))).name, image.read())
    raise BadInput(f"{type(image).__name__!r} is not an image; {_ACCEPTED}")


def uploads_of(images: Image | Iterable[Image]) -> list[Upload]:
    """The files of one image, or of several. Raises BadInput, and OSError."""
    return [upload_of(image) for image in image_list(images)]


def image_list(images: Image | Iterable[Image]) -> list[Image]:
    """One image, or several, as a list. Raises BadInput for other values."""
    if is_one(images):
        return [cast(Image, images)]
    if not isinstance(images, Iterable):
        raise BadInput(f"{type(images).__name__!r} is not an image; {_ACCEPTED}")
    return list(cast(Iterable[Image], images))


def is_one(images: Image | Iterable[Image]) -> bool:
    """Whether this is one image and not several."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, PictureLike, Readable)
    if isinstance(images, single):
        return True
    return isinstance(images, ArrayLike) and len(images.__array_interface__["shape"]) < 4


def png_of_array(array: ArrayLike) -> bytes:
    """A PNG file of (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, RGB or RGBA, or of a mask, (H, W) bool.

    Raises BadInput for another shape or number type: an array does not say whether 1 is white or almost black.
    """
    interface = array.__array_interface__
    shape, kind = tuple(interface["shape"]), str(interface["typestr"])
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or 0 in shape or channels not in _COLOUR_TYPES:
        raise BadInput(f"an array of shape {shape}; send (H, W), (H, W, 3) or (H, W, 4)")
    if kind[1:] not in ("u1", "b1"):
        raise BadInput(f"an array of number type {kind!r}; send uint8 from 0 to 255, or a mask as bool")
    height, width = shape[:2]
    pixels = array.tobytes()  # type: ignore[attr-defined]
    if kind[1:] == "b1":
        pixels = pixels.translate(bytes([0]) + bytes([255]) * 255)
    stride = width * channels
    lines = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
