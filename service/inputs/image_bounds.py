"""What a picture's file may cost to decode, beyond its pixels: scans, tiles and time."""

from __future__ import annotations

import time
from io import BytesIO

from PIL import Image, TiffImagePlugin

from backbones.errors import InvalidInput

# Encoders write about ten scans. Each passes over all pixels again, for as little as a hundred bytes of the file.
MOST_SCANS = 100
MOST_SCANNED_PIXELS = 1_000_000_000
_ALWAYS_READ = 16
_START_OF_SCAN = b"\xff\xda"
_COMPRESSION, _STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 259, 273, 322, 323, 324
_JPEG_INSIDE = (6, 7)
# Pillow takes a file in pieces of this size, and between two of them the time is looked at.
_PIECE_BYTES = 4096


class TimedFile(BytesIO):
    """A file in memory whose reads raise TimeoutError once its thread has worked for `seconds` since it was opened.

    What counts is work and no waiting, so that a busy machine refuses no other pictures than an idle one.
    """

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._ends = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        if time.thread_time() > self._ends:
            raise TimeoutError
        return super().read(size)


def check_work(image: Image.Image, data: bytes, most_pixels: int, field: str) -> None:
    """Hold an opened picture to what its decoding may cost; its pixels are checked already.

    Raises InvalidInput for a JPEG of too many scans, and a TIFF whose tiles are larger than any picture may be.
    """
    if image.format in ("JPEG", "MPO"):
        _check_scans(image, data, 1, field)
        image.decodermaxblock = _PIECE_BYTES  # type: ignore[attr-defined]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        width, height = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_HEIGHT, 1)
        # A tile is unpacked whole, however little of it the picture shows.
        if not (isinstance(width, int) and isinstance(height, int)) or width * height > most_pixels:
            raise InvalidInput(
                field,
                f"a TIFF with tiles of {width} x {height}; the limit is {most_pixels:,} pixels",
                hint="save it with tiles of 256 x 256, or in strips",
            )
        if tags.get(_COMPRESSION) in _JPEG_INSIDE:
            places = tags.get(_TILES) or tags.get(_STRIPS) or ()
            _check_scans(image, data, len(places) if isinstance(places, tuple) else 1, field)


def _check_scans(image: Image.Image, data: bytes, parts: int, field: str) -> None:
    """parts: how many JPEGs share the picture's pixels evenly."""
    most = min(MOST_SCANS, max(_ALWAYS_READ, MOST_SCANNED_PIXELS // (image.width * image.height))) + 4 * (parts - 1)
    # Between two scans a zero follows this byte, so that nearly all that is counted are scans.
    if (scans := data.count(_START_OF_SCAN)) > most:
        raise InvalidInput(
            field, f"a JPEG of {scans:,} scans; {most} are read at its size", hint="save it again, as a usual JPEG"
        )
