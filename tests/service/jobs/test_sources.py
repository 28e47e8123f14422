"""Every kind of source: its items, their order and names, their bytes, and which sources are refused."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.errors import InvalidInput
from service.jobs.records import Item
from service.jobs.sources import Reader, Source, guess, list_items
from tests.service.jobs.conftest import write_pictures

FRAMES = 10


_READERS: list[Reader] = []


def open_reader(source: Source, **bounds: Any) -> Reader:
    """A reader that is closed when its test has ended."""
    _READERS.append(Reader(source, **bounds))
    return _READERS[-1]


@pytest.fixture(autouse=True)
def _close_readers() -> Iterator[None]:
    yield
    while _READERS:
        _READERS.pop().close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    write_pictures(folder, 4)
    (folder / "notes.txt").write_text("no image")
    return folder


def names(source: Source) -> list[str]:
    return [item.name for item in list_items(source)]


def test_a_folder_is_all_below_it_by_path(pictures: Path) -> None:
    source = guess(str(pictures))
    assert source.kind == "folder"
    items = list(list_items(source))
    assert [item.name for item in items] == ["even/00000.png", "even/00001.png", "odd/00000.png", "odd/00001.png"]
    assert [item.position for item in items] == [0, 1, 2, 3]
    assert open_reader(source).read(items[2]) == (pictures / "odd" / "00000.png").read_bytes()


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("*/00000.png", ["even/00000.png", "odd/00000.png"]),
        ("odd/*.png", ["00000.png", "00001.png"]),
        ("*/0000[1-9].*", ["even/00001.png", "odd/00001.png"]),
        ("odd/00001.png", ["00001.png"]),
    ],
)
def test_a_pattern_names_from_its_last_plain_folder(pictures: Path, tail: str, expected: list[str]) -> None:
    source = guess(f"{pictures}/{tail}")
    assert source.kind == "glob"
    assert names(source) == expected


def test_a_zip_is_its_images_by_path_without_litter(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("b/1.PNG", "a/2.png", "__MACOSX/a/._2.png", "a/.hidden.png"):
            archive.writestr(name, (pictures / "even" / "00000.png").read_bytes() + name.encode())
        archive.writestr("read.me", b"no image")
    source = guess(str(file))
    assert source.kind == "zip"
    items = list(list_items(source))
    assert [item.name for item in items] == ["a/2.png", "b/1.PNG"]
    reader = open_reader(source)
    try:
        assert bytes(reader.read(items[1])).endswith(b"b/1.PNG")
        assert bytes(reader.read(items[0])).endswith(b"a/2.png")
    finally:
        reader.close()
    strict = open_reader(source, most_bytes=10)
    with pytest.raises(InvalidInput, match="more than 10 bytes"):
        strict.read(items[0])
    strict.close()


def test_a_damaged_entry_of_a_zip_fails_alone(tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1000))
        archive.writestr("b.png", b"the other")
    data = bytearray(file.read_bytes())
    data[36:40] = b"\xff\xff\xff\xff"
    file.write_bytes(data)
    source = Source(kind="zip", address=str(file))
    first, other = list_items(source)
    reader = open_reader(source)
    with pytest.raises(InvalidInput, match="damaged inside"):
        reader.read(first)
    assert reader.read(other) == b"the other"
    reader.close()


def test_a_coco_file_is_in_its_order_with_ids_and_boxes(pictures: Path, tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "images": [{"id": 9, "file_name": "odd/00001.png"}, {"id": 3, "file_name": "even/00000.png"}],
        "annotations": [
            {"id": 1, "image_id": 9, "bbox": [1, 2, 3, 4], "category_id": 1, "area": 12},
            {"id": 2, "image_id": 9, "bbox": [5, 6, 7, 8], "score": 0.5},
            {"id": 3, "image_id": 9, "caption": "no box"},
        ],
    }
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(document))
    source = guess(str(file), images=str(pictures))
    first, other = list_items(source)
    assert (first.name, first.given["image_id"], other.given) == ("odd/00001.png", 9, {"image_id": 3})
    assert [box["bbox"] for box in first.given["boxes"]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert open_reader(source).read(first) == (pictures / "odd" / "00001.png").read_bytes()


def test_a_list_of_addresses_is_in_its_order_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "addresses.txt"
    file.write_text("# two\nhttps://b.example/1.png\n\nhttps://a.example/2.png\n")
    assert guess(str(file)).kind == "urls"
    assert names(guess(str(file))) == ["https://b.example/1.png", "https://a.example/2.png"]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, each brighter than the one before."""
    import av

    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(FRAMES):
            pixels = np.full((48, 64, 3), 20 * index + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file


def test_a_video_is_every_so_many_of_its_frames(video: Path) -> None:
    assert len(names(guess(str(video)))) == FRAMES
    source = guess(str(video), stride=3)
    items = list(list_items(source))
    assert [item.name for item in items] == [f"clip.mp4#{frame}" for frame in (0, 3, 6, 9)]
    assert items[1].given == {"frame": 3}
    reader = open_reader(source)
    for item in items:
        frame = reader.read(item)
        assert isinstance(frame, np.ndarray)
        assert frame.shape == (48, 64, 3)
        assert frame.mean() == pytest.approx(20 * item.given["frame"] + 20, abs=6)
    # After a restart reading begins somewhere else, and a frame can be requested again.
    again = open_reader(source)
    for item in (items[2], items[1]):
        frame = again.read(item)
        assert isinstance(frame, np.ndarray)
        assert frame.mean() == pytest.approx(20 * item.given["frame"] + 20, abs=6)
    again.close()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("folder", None),
        ("zip", None),
        ("zip", b"no zip"),
        ("coco", b"no JSON"),
        ("coco", b"[]"),
        ("coco", b'{"images": []}'),
        ("coco", b'{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "bbox": [1, 2, 3, 4]}]}'),
        ("urls", b"\xff\xfe"),
        ("urls", b"# nothing\n"),
        ("video", b"no video"),
        ("glob", None),
    ],
)
def test_a_source_of_another_kind_is_refused(tmp_path: Path, kind: Any, content: bytes | None) -> None:
    file = tmp_path / "thing"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        list(list_items(Source(kind=kind, address=str(file))))
    assert caught.value.field == "source"
    assert caught.value.hint


def test_an_address_of_no_source_is_refused_with_those_that_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"neither a folder.*\.zip"):
        guess(str(tmp_path / "thing.doc"))


@pytest.mark.field
@pytest.mark.parametrize(
    "name", ["shoot [2023]", "a*b", "what?", "a::b", "caf\udce9", "x\\y", "cafe\u0301", "12:30\u202fAM"]
)
def test_a_folder_and_its_files_may_be_called_anything(pictures: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    content = (pictures / "even" / "00000.png").read_bytes()
    for file in (f"{name}.png", "b.jfif", "c", "._c.png"):
        (folder / file).write_bytes(content)
    for source in (guess(str(folder)), guess(f"{tmp_path}/*/*")):
        reader = open_reader(source)
        items = [item for item in list_items(source) if not item.name.startswith(("even", "odd"))]
        assert len(items) == 3
        for item in items:
            item.name.encode()
            assert reader.read(item) == content
    (alone,) = list_items(guess(str(folder / f"{name}.png")))
    assert open_reader(guess(str(folder / f"{name}.png"))).read(alone) == content


@pytest.mark.field
def test_hidden_folders_pipes_and_dead_links_are_passed_over(pictures: Path) -> None:
    for name in (".ipynb_checkpoints/a.png", "@eaDir/a.png", "even/._00000.png", "__MACOSX/a.png"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"x")
    os.mkfifo(pictures / "pipe.png")
    (pictures / "gone.png").symlink_to("nowhere")
    assert len(names(guess(str(pictures)))) == 4
    assert len(names(guess(f"{pictures}/**/*.png"))) == 4
    assert names(guess(f"{pictures}/.ipynb_checkpoints/*")) == ["a.png"]


@pytest.mark.field
@pytest.mark.parametrize(
    ("held", "named"),
    [
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("even/a.png", "even\\a.png"),
        ("x\\a.png", "x\\a.png"),
    ],
)
def test_a_coco_file_finds_names_as_other_systems_write_them(pictures: Path, held: str, named: str) -> None:
    (pictures / held).write_bytes(b"the image")
    (pictures / "coco.json").write_text(json.dumps({"images": [{"id": 1, "file_name": named}]}))
    source = guess(str(pictures / "coco.json"))
    (item,) = list_items(source)
    assert open_reader(source).read(item) == b"the image"


@pytest.mark.field
def test_a_coco_file_may_name_absolute_paths(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "coco.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": str(pictures / "odd" / "00000.png")}]}))
    source = guess(str(file))
    (item,) = list_items(source)
    assert open_reader(source).read(item) == (pictures / "odd" / "00000.png").read_bytes()


@pytest.mark.field
def test_an_item_with_a_problem_is_not_read(pictures: Path) -> None:
    item = Item(0, "a", str(pictures / "odd" / "00000.png"), {"problem": "two of them"})
    with pytest.raises(InvalidInput, match="two of them"):
        open_reader(guess(str(pictures))).read(item)


@pytest.mark.field
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_of_addresses_may_have_a_mark_before_it(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "addresses.txt"
    file.write_text("https://a.example/1.png\r\n # none\r\n", encoding=encoding)
    assert names(guess(str(file))) == ["https://a.example/1.png"]
