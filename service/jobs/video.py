"""The frames of a video, upright and by number, also if parts of it are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from service.jobs.containers import ONLY_VIDEOS, bound_frames

if TYPE_CHECKING:
    from av.container import InputContainer

# What a display matrix [a b; c d] does to a frame: so many quarter turns against the clock, then mirrored or not.
_TURNS = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 3, (-1, 0, 0, -1): 2, (0, -1, 1, 0): 1}


@contextmanager
def open_video(file: BinaryIO) -> Iterator[InputContainer]:
    """The container in an open file. Raises OSError and ValueError if it is not a video."""
    import av

    with av.open(file, mode="r", **ONLY_VIDEOS) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        yield container


def frame_times(file: BinaryIO) -> list[int | None]:
    """When each frame is shown, in the stream's own unit and in order; None each if the file does not say.

    Packets are counted and not decoded. If the file is cut short, packets before the cut count.
    Raises OSError and ValueError.
    """
    import av

    times: list[int | None] = []
    with open_video(file) as container:
        try:
            for packet in container.demux(video=0):
                if packet.size and not packet.is_discard:
                    times.append(packet.pts)
        except av.FFmpegError:
            if not times:
                raise
    stated = [time for time in times if time is not None]
    if len(stated) < len(times) or len(set(stated)) < len(stated):
        return [None] * len(times)
    return list(sorted(stated))


class Frames:
    """Frames by number, decoded once and forwards. A damaged packet makes only its own frame fail.

    times: of `frame_times`. most_pixels: of one frame; None is no bound.
    """

    def __init__(self, file: BinaryIO, times: list[int | None], most_pixels: int | None = None) -> None:
        self._most_pixels = most_pixels
        self._numbers = {time: number for number, time in enumerate(times) if time is not None}
        self._frames = self._decode(file)
        self._ahead: tuple[int, NDArray[np.uint8]] | None = None
        self.next = 0

    def read(self, wanted: int) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB of a number, none of which may be lower than the one before.

        Raises InvalidInput if it cannot be decoded.
        """
        self.next = wanted + 1
        while self._ahead is None or self._ahead[0] < wanted:
            self._ahead = next(self._frames, None)
            if self._ahead is None:
                raise InvalidInput("image", f"the video ends before frame {wanted}", hint="the file may be cut short")
        if self._ahead[0] > wanted:
            raise InvalidInput("image", f"frame {wanted} is damaged", hint="convert the video again")
        return self._ahead[1]

    def close(self) -> None:
        """Close the video."""
        self._frames.close()

    def _decode(self, file: BinaryIO) -> Any:
        import av

        count = 0
        with open_video(file) as container:
            bound_frames(container, self._most_pixels)
            packets = container.demux(video=0)
            while True:
                try:
                    packet = next(packets, None)
                except av.FFmpegError:
                    return
                if packet is None:
                    return
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    count += 1  # of a file that states no times, the packet's frame is counted as lost
                    continue
                for frame in decoded:
                    number = self._numbers.get(frame.pts or 0, -1) if self._numbers else count
                    count += 1
                    if number >= 0:
                        yield number, upright_frame(frame)


def upright_frame(frame: Any) -> NDArray[np.uint8]:
    """A decoded frame (H, W, 3) uint8 RGB, rotated by its display matrix.

    Phones write the matrix for clips that were not held level. Other angles than quarter turns are ignored.
    """
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float) / 65536
    signs = tuple(int(np.sign(round(value, 1))) for value in (a, b, c, d))
    if signs in _TURNS:
        return np.ascontiguousarray(np.rot90(pixels, _TURNS[signs]))
    mirrored = (-signs[0], signs[1], -signs[2], signs[3])
    if mirrored in _TURNS:
        return np.ascontiguousarray(np.rot90(pixels, _TURNS[mirrored])[:, ::-1])
    return pixels
