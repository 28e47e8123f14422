"""Only videos are opened as videos, and the number of their frames is bounded."""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from backbones.errors import InvalidInput
from service.jobs.containers import ONLY_VIDEOS
from service.jobs.sources import Reader, Source, list_items

SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"


def video(form: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in (10, 200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("form", ["mp4", "mov", "matroska", "avi"])
def test_the_containers_of_every_ending_are_read(form: str) -> None:
    with av.open(BytesIO(video(form)), **ONLY_VIDEOS) as container:
        assert len(list(container.decode(video=0))) == 2


LIST, PLAYLIST = b"ffconcat version 1.0\nfile self.mp4\n", b"#EXTM3U\n#EXTINF:1,\nself.mp4\n"


@pytest.mark.parametrize("text", [LIST, SESSION, PLAYLIST])
def test_texts_that_name_other_files_or_ports_are_no_videos(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "self.mp4").write_bytes(text)
    with pytest.raises(InvalidInput, match="can not be read as video"):
        list(list_items(Source(kind="video", address=str(tmp_path / "self.mp4"))))


def test_frames_past_the_bound_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(video("mp4"))
    source = Source(kind="video", address=str(tmp_path / "a.mp4"))
    item = next(iter(list_items(source)))
    with closing(Reader(source, most_pixels=64 * 48)) as reader:
        assert reader.read(item).shape == (48, 64, 3)  # type: ignore[union-attr]
    with closing(Reader(source, most_pixels=64 * 47)) as reader, pytest.raises(InvalidInput, match="frames of 64 x 48"):
        reader.read(item)
