"""COCO files of all kinds of programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.jobs.coco_source import describe_images, is_coco, place_images
from service.jobs.records import Item
from service.jobs.store import canonical

pytestmark = pytest.mark.field

PERSON = {"id": 1, "name": "person"}
DOG = {"id": 18, "name": "dog"}


def images(*names: str) -> list[dict[str, Any]]:
    return [{"id": n + 1, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names)]


def person(image: Any, bbox: Any = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": 1, "bbox": list(bbox) if bbox else bbox, **more}


def boxes_of(document: dict[str, Any]) -> list[Any]:
    return [
        [box["bbox"] for box in item.given["boxes"]] if "boxes" in item.given else None for item in describe(document)
    ]


def describe(document: dict[str, Any]) -> list[Item]:
    return describe_images({"categories": [PERSON, DOG], **document})


def place(file: str, held: list[str], *names: str) -> list[tuple[str, str]]:
    """(address, problem) of each image of a COCO file in an archive that holds these paths."""
    items = place_images(describe({"images": images(*names)}), {path: path for path in held}, file)
    return [(item.address, item.given.get("problem", "")) for item in items]


def test_only_persons_have_boxes() -> None:
    annotations = [
        person(1),
        person(1, [5, 5, 9, 9], iscrowd=1),
        person(1, [6, 6, 9, 9], category_id=18),
        person(2, [6, 6, 9, 9], category_id=18),
    ]
    assert boxes_of({"images": images("a", "b", "c"), "annotations": annotations}) == [[[1, 2, 3, 4]], [], None]


@pytest.mark.parametrize(
    "categories",
    [
        None,
        [],
        [{"id": 1, "name": "Person"}, DOG],
        [{"id": 1, "name": "wrestler"}],
        [{"id": 1, "keypoints": ["a"]}, DOG],
    ],
)
def test_persons_are_known_by_name_by_points_or_by_being_alone(categories: Any) -> None:
    document = {"images": images("a"), "annotations": [person(1)], "categories": categories}
    assert boxes_of(document) == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize(("id", "image_id"), [(1, "1"), ("1", 1), (1, 1.0), ("x", "x")])
def test_ids_are_compared_as_what_they_mean(id: Any, image_id: Any) -> None:
    document = {"images": [{"id": id, "file_name": "a"}], "annotations": [person(image_id)]}
    assert boxes_of(document) == [[[1, 2, 3, 4]]]
    assert describe(document)[0].given["image_id"] == id


@pytest.mark.parametrize(
    "bbox", [None, [], [1, 2], [1, 2, 3, float("nan")], [1, 2, 3, "4"], [1, 2, 3, 10**400], "1234"]
)
def test_an_invalid_box_is_left_out_with_a_note(bbox: Any) -> None:
    annotations = [{**person(1), "id": 7, "bbox": bbox}, person(1)]
    item = describe({"images": images("a", "b"), "annotations": annotations})[0]
    assert [box["bbox"] for box in item.given["boxes"]] == [[1, 2, 3, 4]]
    assert "annotation 7" in item.given["source_notes"][0]


def test_indistinguishable_images_fail_alone() -> None:
    listed = [
        *images("a", "b"),
        {"id": 2, "file_name": "c"},
        {"file_name": "d"},
        {"id": 9},
        None,
        {"id": 8, "file_name": ""},
    ]
    items = describe({"images": listed})
    assert ["problem" in item.given for item in items] == [False, True, True, True, True, True, True]
    assert "2 images of the id 2" in items[1].given["problem"]


def test_half_surrogate_pairs_become_readable() -> None:
    item = describe({"images": [{"id": "\ud800", "file_name": "a\ud800.png"}]})[0]
    assert (item.name, item.given["image_id"]) == ("a\\ud800.png", "\\ud800")


def test_boxes_of_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="no box belongs to an image"):
        describe({"images": images("a"), "annotations": [person(99)]})
    assert not is_coco([])
    assert not is_coco({"images": ["a.png"]})


@pytest.mark.parametrize(
    ("file", "held", "name", "address"),
    [
        ("val.json", ["images/train/1.png"], "val/1.png", None),
        ("val/ann.json", ["train/1.png", "val/1.png"], "1.png", "val/1.png"),
        ("annotations/instances_val2017.json", ["val2017/1.png"], "1.png", "val2017/1.png"),
        ("annotations/instances_val2017.json", ["train2017/1.png"], "1.png", None),
        ("annotations/ann.json", ["a/1.png", "b/1.png"], "1.png", None),
        ("set/annotations/ann.json", ["set/images/1.png"], "images/1.png", "set/images/1.png"),
        ("ann.json", ["images\\1.png"], "images/1.png", "images\\1.png"),
        ("ann.json", ["images/1.png"], "images\\1.png", "images/1.png"),
        ("ann.json", ["./images/1.png"], "images/1.png", "./images/1.png"),
        ("ann.json", ["cafe\u0301.png"], "caf\u00e9.png", "cafe\u0301.png"),
        ("ann.json", ["images/1.png"], "/home/me/set/images/1.png", "images/1.png"),
        ("ann.json", ["images/1.png"], "C:\\set\\images\\1.png", "images/1.png"),
        ("ann.json", ["d/cafe\u0301.png", "d/caf\u00e9.png"], "d/caf\u00e9.png", "d/caf\u00e9.png"),
    ],
)
def test_an_image_is_taken_from_where_the_file_says_or_not_at_all(
    file: str, held: list[str], name: str, address: str | None
) -> None:
    ((path, problem),) = place(file, held, name)
    if address is None:
        assert problem
    else:
        assert (path, problem) == (address, "")


def test_a_missing_image_does_not_take_the_place_of_another() -> None:
    places = place("ann.json", ["a/1.png", "b/2.png", "a/3.png"], "a/1.png", "a/2.png", "a/3.png")
    assert [bool(problem) for _, problem in places] == [False, True, False]


@pytest.mark.parametrize(
    "odd", [float("nan"), float("inf"), -float("inf"), "\ud800", ["\ud800", float("nan")], {"a": 1e999}]
)
def test_numbers_and_characters_that_no_database_holds_lose_neither_image_nor_box(odd: Any) -> None:
    annotations = [person(1, score=odd, id=odd), person(2)]
    document = {"images": [*images("a", "b"), {"id": odd, "file_name": "c"}], "annotations": annotations}
    items = describe(document)
    json.loads(canonical([item.given for item in items]).encode("utf-8"))
    assert boxes_of(document)[:2] == [[[1, 2, 3, 4]], [[1, 2, 3, 4]]]
    assert "image_id" in items[2].given


@pytest.mark.parametrize("category", [1.0, "1"])
def test_categories_are_compared_as_ids_are(category: Any) -> None:
    assert boxes_of({"images": images("a"), "annotations": [person(1, category_id=category)]}) == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize("category", [[1], {"id": 1}, None, "2"])
def test_an_invalid_category_is_no_person(category: Any) -> None:
    assert boxes_of({"images": images("a"), "annotations": [person(1, category_id=category)]}) == [[]]


@pytest.mark.parametrize(
    ("crowd", "taken"), [(0, True), ("0", True), (False, True), (None, True), (1, False), ("1", False), (True, False)]
)
def test_crowds_are_reported_in_several_ways(crowd: Any, taken: bool) -> None:
    annotations = [person(1, iscrowd=crowd)]
    assert boxes_of({"images": images("a"), "annotations": annotations}) == [[[1, 2, 3, 4]] if taken else []]


@pytest.mark.parametrize("annotations", [5, {"a": 1}, "text"])
def test_annotations_that_are_no_list_are_named(annotations: Any) -> None:
    with pytest.raises(ValueError, match="annotations are no list"):
        describe({"images": images("a"), "annotations": annotations})
