"""Limits on the cost of decoding an image, apart from its pixels: scans, tiles and time."""

from __future__ import annotations

import time
from io import BytesIO

import numpy as np
from PIL import Image, TiffImagePlugin

from backbones.errors import InvalidInput

# Encoders write about ten scans. Each scan decodes all pixels again, and may have only a hundred bytes.
MOST_SCANS = 100
MOST_SCANNED_PIXELS = 1_000_000_000
_ALWAYS_READ = 16
_START_OF_SCAN = b"\xff\xda"
# A marker is 255 and its kind. In pixel data 255 is followed by zero, or by one of eight restart markers.
_SCAN, _END, _RESTART = 0xDA, 0xD9, 0xD0
# Markers without a length.
_ALONE = (0x01, 0xD8)
_COMPRESSION, _STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 259, 273, 322, 323, 324
_JPEG_INSIDE = (6, 7)
# Pillow reads a file in pieces of this size; the time is checked between two pieces.
_PIECE_BYTES = 4096
_SEARCHED_BYTES = 1 << 20


class TimedFile(BytesIO):
    """A file in memory whose reads raise TimeoutError once its thread has worked for `seconds` since it was opened.

    Processor time counts, not waiting, so a busy machine refuses the same pictures as an idle one.
    """

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._ends = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """As `io.BytesIO.read`."""
        if time.thread_time() > self._ends:
            raise TimeoutError
        return super().read(size)


def check_work(image: Image.Image, data: bytes, most_pixels: int, field: str) -> None:
    """Check the decoding cost of an opened image; its pixels are already checked.

    Raises InvalidInput for a JPEG of too many scans, and a TIFF whose tiles are larger than any picture may be.
    """
    if image.format in ("JPEG", "MPO"):
        _check_scans(image, count_scans(data), 1, field)
        image.decodermaxblock = _PIECE_BYTES  # type: ignore[attr-defined]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        width, height = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_HEIGHT, 1)
        # A whole tile is unpacked, even if the picture shows only a part of it.
        if not (isinstance(width, int) and isinstance(height, int)) or width * height > most_pixels:
            raise InvalidInput(
                field,
                f"a TIFF with tiles of {width} x {height}; the limit is {most_pixels:,} pixels",
                hint="save it with tiles of 256 x 256, or in strips",
            )
        if tags.get(_COMPRESSION) in _JPEG_INSIDE:
            places = tags.get(_TILES) or tags.get(_STRIPS) or ()
            # In pixel data a zero follows this byte, so almost every match is a scan.
            scans = data.count(_START_OF_SCAN)
            _check_scans(image, scans, len(places) if isinstance(places, tuple) else 1, field)


def count_scans(data: bytes) -> int:
    """The scans of a JPEG that is not inside another file: without those of its preview, and of data after its end.

    Phones put a preview before the picture and a video of several megabytes behind it.
    """
    scans, at = 0, 2
    while at < len(data) - 1:
        # A piece at a time: a search through megabytes would block all other threads.
        piece = np.frombuffer(data, np.uint8, min(_SEARCHED_BYTES, len(data) - at), at)
        following = piece[1:]
        marks = (piece[:-1] == 0xFF) & (following != 0) & (following != 0xFF) & (following & 0xF8 != _RESTART)
        start, at = at, at + len(piece) - 1
        segment = start
        for place in (np.flatnonzero(marks) + start).tolist():
            kind = data[place + 1]
            if place < segment or kind in _ALONE:
                continue
            if kind == _END:
                return scans
            scans += kind == _SCAN
            segment = place + 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
        at = max(at, segment)
    return scans


def _check_scans(image: Image.Image, scans: int, parts: int, field: str) -> None:
    """parts: how many JPEGs share the picture's pixels evenly."""
    most = min(MOST_SCANS, max(_ALWAYS_READ, MOST_SCANNED_PIXELS // (image.width * image.height))) + 4 * (parts - 1)
    if scans > most:
        raise InvalidInput(
            field,
            f"a JPEG with {scans:,} scans; at most {most} are allowed for its size",
            hint="save it again, as a usual JPEG",
        )
