"""Archives of all kinds of systems and programs."""

from __future__ import annotations

import json
import stat
import zipfile
from io import BytesIO
from typing import Any

import pytest

from backbones.errors import InvalidInput
from service.jobs.records import Item
from service.jobs.zip_source import list_zip

pytestmark = pytest.mark.field

PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)


def make_zip(*files: tuple[Any, Any]) -> BytesIO:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files:
            archive.writestr(name, json.dumps(content) if isinstance(content, dict | list) else content)
    return file


def coco(name: str = "a.png", id: int = 77, *, boxes: bool = True) -> dict[str, Any]:
    person = {"id": 1, "image_id": id, "category_id": 1, "bbox": [1, 2, 3, 4]}
    caption = {"id": 1, "image_id": id, "caption": "a man"}
    return {"images": [{"id": id, "file_name": name}], "annotations": [person if boxes else caption]}


def list_items(*files: tuple[str, Any]) -> list[Item]:
    return list(list_zip(make_zip(*files)))


def test_images_are_known_by_content_and_litter_is_passed_over() -> None:
    items = list_items(
        ("b.jfif", PNG), ("blob", PNG), ("notes", b"text"), (".ipynb_checkpoints/b.png", PNG), ("x/@eaDir/b.png", PNG),
        ("__MACOSX/._b.jfif", PNG), ("x\\c.png", PNG), ("x/c.png", PNG),
    )  # fmt: skip
    assert [item.name for item in items] == ["b.jfif", "blob", "x/c.png", "x/c.png_"]
    assert {item.address for item in items} == {"b.jfif", "blob", "x/c.png", "x\\c.png"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("._ann.json", b"\0\5\x16\7"),
        (".x/ann.json", coco(id=1)),
        ("captions.json", coco(boxes=False)),
        ("labelme.json", {"shapes": [], "imagePath": "a.png"}),
        ("list.json", ["a.png"]),
        ("broken.json", b'{"images": ['),
    ],
)
def test_another_json_does_not_hide_the_coco_file(name: str, content: Any) -> None:
    (item,) = list_items(("a.png", PNG), ("ANN.JSON", coco()), (name, content))
    assert item.given["image_id"] == 77
    assert item.given["boxes"][0]["bbox"] == [1, 2, 3, 4]


def test_two_coco_files_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"several COCO files: train\.json, val\.json"):
        list_items(("a.png", PNG), ("train.json", coco()), ("val.json", coco(id=3)))


def test_a_coco_file_may_name_what_else_would_be_passed_over() -> None:
    (item,) = list_items((".a/x.bin", PNG), ("ann.json", coco(".a/x.bin")))
    assert item.address == ".a/x.bin"


def test_files_of_one_name_fail_alone() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = make_zip(("a.png", PNG), ("a.png", PNG + b"2"), ("b.png", PNG))
    items = list(list_zip(file))
    assert [(item.name, "problem" in item.given) for item in items] == [("a.png", True), ("b.png", False)]


def test_a_file_that_cannot_be_read_fails_alone() -> None:
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    data = bytearray(
        make_zip(("locked.png", PNG), (link, b"/etc/passwd"), ("../out.png", PNG), ("a.png", PNG)).getvalue()
    )
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    problems = {item.name: item.given.get("problem", "") for item in list_zip(BytesIO(data))}
    assert list(problems) == ["../out.png", "a.png", "link.png", "locked.png"]
    assert "points outside" in problems["../out.png"]
    assert problems["a.png"] == ""
    assert "is a link" in problems["link.png"]
    assert "encrypted" in problems["locked.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_coco_file_may_be_in_any_unicode(encoding: str) -> None:
    (item,) = list_items(("a.png", PNG), ("ann.json", json.dumps(coco()).encode(encoding)))
    assert item.given["image_id"] == 77
    assert item.given["boxes"][0]["bbox"] == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", [lambda text: text[:-5], lambda text: text.replace("77", "7" * 5000)])
def test_a_damaged_coco_file_is_named_and_its_boxes_are_not_lost_in_silence(damage: Any) -> None:
    with pytest.raises(InvalidInput, match=r"'ann\.json' looks like a COCO file, but is not JSON"):
        list_items(("a.png", PNG), ("ann.json", damage(json.dumps(coco())).encode()))


def test_a_name_that_is_no_text_fails_alone() -> None:
    lost, there = list_items(
        ("a.png", PNG), ("ann.json", {"images": [{"id": 1, "file_name": "\ud800"}, *coco()["images"]]})
    )
    assert "no such file" in lost.given["problem"]
    assert (there.address, lost.address.encode()) == ("a.png", rb"\ud800")


@pytest.mark.parametrize("name", ["ann.json", "blob"])
def test_an_entry_of_another_compression_method_is_no_fault(name: str) -> None:
    file = make_zip(("a.png", PNG))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr(name, json.dumps(coco()))
    data = bytearray(file.getvalue())
    at = data.index(name.encode()) + len(name) + 4
    data[at : at + 8] = bytes(8)
    if name == "blob":
        assert [item.name for item in list_zip(BytesIO(data))] == ["a.png"]
        return
    with pytest.raises(InvalidInput, match="cannot be checked"):
        list(list_zip(BytesIO(data)))


def test_a_name_may_begin_with_a_letter_and_a_colon() -> None:
    names = {item.name: item.given.get("problem", "") for item in list_items(("a:b.png", PNG), ("C:/c.png", PNG))}
    assert names["a:b.png"] == ""
    assert "points outside" in names["C:/c.png"]
