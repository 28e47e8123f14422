"""Which bytes are an image, and which files are litter of operating systems."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from heads.image_files import HEAD_BYTES, has_image_name, image_files, images_in, is_image, is_litter, is_video

pytestmark = pytest.mark.field


def encode(form: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "MPO"])
def test_every_format_is_known_by_its_bytes(form: str) -> None:
    assert is_image(encode(form)[:HEAD_BYTES])
    assert not is_video(encode(form)[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head", [b"", b"BMW and other cars", b"\0\5\x16\7" + bytes(28), b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypheic", b"%PDF"]
)
def test_other_bytes_are_neither_image_nor_video(head: bytes) -> None:
    assert not is_image(head)
    assert not is_video(head)


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"\0\0\0\x08wide"]
)
def test_videos_are_known_by_their_bytes(head: bytes) -> None:
    assert is_video(head)


@pytest.mark.parametrize(
    ("name", "named"), [("a.JPE", True), ("a.jfif", True), ("b.mpo", True), ("a.txt", False), ("blob", None)]
)
def test_a_name_may_say_what_a_file_is(name: str, named: bool | None) -> None:
    assert has_image_name(name) is named


@pytest.mark.parametrize(
    "path",
    [
        *("._a.png", "x/.ipynb_checkpoints/a.png", "@eaDir/a.png", "x/__MACOSX/a.png", "#recycle/a.png"),
        *("x\\.t\\a.png", "Thumbs.db", "x/desktop.ini", "$RECYCLE.BIN/a.png", ".thumbnails/a.png"),
    ],
)
def test_files_of_operating_systems_are_litter(path: str) -> None:
    assert is_litter(path)


@pytest.mark.parametrize("path", ["a.png", "x/a.b.png", "./a.png", "x/../a.png", "MACOSX/a.png"])
def test_other_paths_are_no_litter(path: str) -> None:
    assert not is_litter(path)


def test_a_folder_is_searched_for_images_by_content(tmp_path: Path) -> None:
    for name in ("a.png", "cat/b", "cat/c.jfif", "cat/._c.jfif", ".hidden/d.png", "@eaDir/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode("PNG"))
    (tmp_path / "notes").write_text("no image")
    (tmp_path / "labels.txt").write_bytes(encode("PNG"))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert [str(file.relative_to(tmp_path)) for file in image_files(tmp_path)] == ["a.png", "cat/b", "cat/c.jfif"]
    assert images_in(tmp_path) == [tmp_path / "a.png"]
