"""Frames of videos that are turned, damaged or cut short."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.errors import InvalidInput
from service.jobs.video import Frames, frame_times

pytestmark = pytest.mark.field

FRAMES = 12


def write_clip(path: Path, codec: str = "libx264") -> list[bytes]:
    """A clip of grey frames, each brighter than the one before, with a black corner on the upper left; its packets."""
    import av

    noise = np.random.default_rng(0).integers(0, 12, (48, 80, 3), dtype=np.uint8)
    packets: list[bytes] = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height = 80, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 3
        for index in range(FRAMES + 1):
            frame = None
            if index < FRAMES:
                pixels = np.full((48, 80, 3), 15 * index + 40, np.uint8) + noise
                pixels[:16, :16] = 0
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            for packet in stream.encode(frame):
                packets.append(bytes(packet))
                container.mux(packet)
    return packets


def read_all(data: bytes) -> list[float | None]:
    """The mean brightness of each frame's lower right; None if it cannot be read."""
    times = frame_times(BytesIO(data))
    frames = Frames(BytesIO(data), times)
    means: list[float | None] = []
    for number in range(len(times)):
        try:
            means.append(float(frames.read(number)[24:, 40:].mean()))
        except InvalidInput:
            means.append(None)
    frames.close()
    return means


@pytest.mark.parametrize(("codec", "name"), [("libx264", "a.mp4"), ("mjpeg", "a.avi"), ("mpeg4", "a.mkv")])
def test_every_frame_has_its_number(tmp_path: Path, codec: str, name: str) -> None:
    write_clip(tmp_path / name, codec)
    means = read_all((tmp_path / name).read_bytes())
    assert means == pytest.approx([15 * index + 45 for index in range(FRAMES)], abs=8)


@pytest.mark.parametrize(("codec", "name"), [("libx264", "a.mp4"), ("mjpeg", "a.avi")])
def test_a_damaged_packet_loses_its_own_frame(tmp_path: Path, codec: str, name: str) -> None:
    packets = write_clip(tmp_path / name, codec)
    data = bytearray((tmp_path / name).read_bytes())
    at = data.find(packets[6][8:]) - 8
    assert at > 0
    data[at : at + len(packets[6])] = bytes(len(packets[6]))
    means = read_all(bytes(data))
    assert len(means) == FRAMES
    # Frames before and after are exact; the decoder may guess near the damage.
    for number in (0, 1, 2, FRAMES - 2, FRAMES - 1):
        assert means[number] == pytest.approx(15 * number + 45, abs=8)
    assert sum(mean is None for mean in means) <= 2


def test_a_video_that_is_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", "mpeg4")
    data = (tmp_path / "a.mkv").read_bytes()
    means = read_all(data[: len(data) * 2 // 3])
    assert 3 <= sum(mean is not None for mean in means) < FRAMES


@pytest.mark.parametrize(
    ("matrix", "shape", "corner"),
    [
        ((1, 0, 0, 1), (48, 80), (0, 0)),
        ((0, 1, -1, 0), (80, 48), (0, -1)),
        ((-1, 0, 0, -1), (48, 80), (-1, -1)),
        ((0, -1, 1, 0), (80, 48), (-1, 0)),
        ((-1, 0, 0, 1), (48, 80), (0, -1)),
        ((1, 0, 0, -1), (48, 80), (-1, 0)),
        ((0, 1, 1, 0), (80, 48), (0, 0)),
        ((0, -1, -1, 0), (80, 48), (-1, -1)),
    ],
)
def test_a_frame_is_shown_as_its_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    write_clip(tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.find(b"tkhd") + 4
    at += 4 + (20 if data[at] == 0 else 32) + 16
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    frame = Frames(BytesIO(bytes(data)), frame_times(BytesIO(bytes(data)))).read(4)
    assert frame.shape == (*shape, 3)
    rows = slice(0, 8) if corner[0] == 0 else slice(-8, None)
    columns = slice(0, 8) if corner[1] == 0 else slice(-8, None)
    assert frame[rows, columns].mean() < 20


def test_a_file_that_is_no_video_is_refused() -> None:
    with pytest.raises((OSError, ValueError)):
        frame_times(BytesIO(b"no video"))
