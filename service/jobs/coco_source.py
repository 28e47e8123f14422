"""The images of a COCO file with their ids and the boxes of persons, and where in a folder or archive they are.

An image with the id of another, or whose file is missing, becomes an item with a `problem`: it fails alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from math import isfinite
from typing import Any

from service.inputs.names import readable_name
from service.jobs.records import Item

_PERSONS = frozenset({"person", "people", "persons", "human", "pedestrian", "player"})
_BOX_FIELDS = ("id", "category_id", "bbox", "score")
# Values with which programs mark a crowd annotation: 1, true, or either as a text.
_YES = frozenset({"1", "true"})


def is_coco(document: Any) -> bool:
    """Whether a JSON value lists images in COCO's format."""
    images = document.get("images") if isinstance(document, dict) else None
    return isinstance(images, list) and all(isinstance(image, dict) and "file_name" in image for image in images[:10])


def has_boxes(document: Mapping[str, Any]) -> bool:
    """Whether any annotation has a box."""
    annotations = document.get("annotations")
    listed = annotations if isinstance(annotations, list) else ()
    return any(isinstance(annotation, dict) and annotation.get("bbox") for annotation in listed)


def describe_images(document: Mapping[str, Any]) -> list[Item]:
    """The images in the file's order. Their addresses are their names.

    `given` has the image's id, the boxes of its persons, its size in the file, and its problem.
    Raises ValueError if the file lists no images, or if no box belongs to an image.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("images"), list):
        raise ValueError("it has no list of images")
    if not isinstance(document.get("annotations") or [], list):
        raise ValueError("its annotations are no list")
    images: list[Any] = document["images"]
    counts = Counter(_key(image.get("id")) for image in images if isinstance(image, Mapping))
    boxes, notes = _read_boxes(document)
    if boxes and not any(key in counts for key in boxes):
        raise ValueError("no box belongs to an image: the image_id of annotations and the id of images differ")
    return [_describe_image(n, image, counts, boxes, notes) for n, image in enumerate(images)]


def _describe_image(
    n: int,
    image: Any,
    counts: Mapping[str, int],
    boxes: Mapping[str, list[dict[str, Any]]],
    notes: Mapping[str, list[str]],
) -> Item:
    if not isinstance(image, Mapping):
        return Item(n, f"image {n + 1}", "", {"problem": "the COCO file says nothing of this image"})
    file_name, id = image.get("file_name"), image.get("id")
    name = file_name if isinstance(file_name, str) and file_name else f"image {n + 1}"
    key = _key(id)
    value: dict[str, Any] = {} if id is None else {"image_id": _as_json(id)}
    if not isinstance(file_name, str) or not file_name:
        value["problem"] = "the COCO file gives this image no file_name"
    elif id is None:
        value["problem"] = "the COCO file gives this image no id"
    elif counts[key] > 1:
        value["problem"] = f"the COCO file has {counts[key]} images of the id {id!r}: give each its own"
    if key in boxes:
        value["boxes"] = boxes[key]
        size = [image.get("width"), image.get("height")]
        if all(isinstance(side, int) and side > 0 for side in size):
            value["source_size"] = size
    if key in notes:
        value["source_notes"] = notes[key]
    return Item(n, readable_name(name), name, value)


def _read_boxes(document: Mapping[str, Any]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[str]]]:
    """The boxes of persons, and notes on what was left out, by the key of the image's id.

    Crowds, other categories, and boxes that are not four finite numbers are left out. An image whose annotations hold
    no person's box gets an empty list: it shows no persons.
    """
    persons = _person_categories(document.get("categories"))
    boxes: dict[str, list[dict[str, Any]]] = {}
    notes: dict[str, list[str]] = {}
    for annotation in document.get("annotations") or ():
        if not isinstance(annotation, Mapping) or "bbox" not in annotation:
            continue
        key = _key(annotation.get("image_id"))
        of_image = boxes.setdefault(key, [])
        of_person = persons is None or _key(annotation.get("category_id", 1)) in persons
        if not of_person or _key(annotation.get("iscrowd")).casefold() in _YES:
            continue
        if not _is_box(annotation["bbox"]):
            note = f"annotation {annotation.get('id')}: bbox is no x, y, width, height; it was left out"
            notes.setdefault(key, []).append(readable_name(note))
            continue
        of_image.append({name: _as_json(annotation[name]) for name in _BOX_FIELDS if name in annotation})
    return boxes, notes


def _person_categories(categories: Any) -> frozenset[str] | None:
    """The keys of categories of persons, by name or by their keypoints; None if every box is a person's.

    Without a list of categories, COCO's number 1 is a person. If there is only one category, every box is a person's.
    """
    described = (
        [category for category in categories or () if isinstance(category, Mapping)]
        if isinstance(categories, list)
        else []
    )
    if not described:
        return frozenset({_key(1)})
    if len(described) == 1:
        return None
    persons = [
        category
        for category in described
        if str(category.get("name")).strip().casefold() in _PERSONS or category.get("keypoints")
    ]
    return frozenset(_key(person.get("id")) for person in persons)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    return all(
        isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e300 and isfinite(number)
        for number in box
    )


def _as_json(value: Any) -> Any:
    """A value that every database and JSON can store: NaN, infinity and lone surrogates become texts."""
    if isinstance(value, str):
        return readable_name(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {readable_name(name): _as_json(item) for name, item in value.items()}
    return value


def _key(id: Any) -> str:
    """The key to compare ids by: some write the ids of annotations as texts, those of images as numbers."""
    return str(int(id)) if isinstance(id, float) and id.is_integer() else str(id)


def place_images(items: Sequence[Item], addresses: Mapping[str, str], file: str) -> Iterator[Item]:
    """The items with the addresses of their files. An item without a file gets a problem.

    addresses: path inside the archive -> address. file: the path of the COCO file in it.
    All names are read from one folder: the COCO file's own, else a folder above it, else the only folder that holds any
    of them. So no image replaces another image of the same name.
    """
    addresses_of: dict[str, list[str]] = {}
    for path, address in addresses.items():
        addresses_of.setdefault(_plain(path), []).append(address)
    names = [_plain(item.address) for item in items]
    root, cut = _choose_root(names, addresses_of, _plain(file))
    for item, name in zip(items, names, strict=True):
        if "problem" in item.given:
            yield replace(item, address=readable_name(item.address))
            continue
        exact = addresses.get(f"{root}{item.address}")
        matches = [exact] if exact is not None else addresses_of.get(root + _cut_folders(name, cut), [])
        if len(matches) == 1:
            yield replace(item, address=matches[0])
            continue
        where = f"in {root!r}" if root else "where the COCO file says"
        problem = f"the archive holds no such file {where}" if not matches else "the archive holds several such files"
        yield replace(item, address=readable_name(item.address), given={**item.given, "problem": problem})


def _choose_root(names: Sequence[str], paths: Mapping[str, Any], file: str) -> tuple[str, int]:
    """The folder, with its slash, that the names start from, and how many folders to cut from the names themselves.

    Only absolute names are cut: they come from another machine.
    """
    deepest = min((name.count("/") for name in names), default=0) if all(map(_is_absolute, names)) else 0
    for cut in range(deepest + 1):
        wanted = {_cut_folders(name, cut) for name in names}
        parents = file.split("/")[:-1]
        for root in ["".join(f"{part}/" for part in parents[:depth]) for depth in range(len(parents), -1, -1)]:
            if any(root + name in paths for name in wanted):
                return root, cut
        best = _count_elsewhere(wanted, paths, file).most_common(2)
        if best and (len(best) == 1 or best[0][1] == len(wanted) > best[1][1]):
            return best[0][0], cut
    return "", 0


def _count_elsewhere(wanted: Set[str], paths: Iterable[str], file: str) -> Counter[str]:
    """How many of the names each folder, with its slash, holds; folders of other splits are left out."""
    counts: Counter[str] = Counter()
    split = _splits(file.rpartition("/")[2])
    for path in paths:
        parts = path.split("/")
        for at in range(1, len(parts)):
            if "/".join(parts[at:]) not in wanted:
                continue
            root = "/".join(parts[:at]) + "/"
            if not split or not _splits(root) or split & _splits(root):
                counts[root] += 1
    return counts


def _splits(name: str) -> set[str]:
    """The splits of a data set that a name mentions."""
    return set(re.findall("train|val|test", name.casefold()))


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or name[1:3] == ":/"


def _cut_folders(name: str, cut: int) -> str:
    return name.split("/", cut)[-1] if cut else name


def _plain(path: str) -> str:
    """A path in the form that is compared: `/` between folders, no `./` before it, and letters composed (NFC)."""
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    kept = [part for n, part in enumerate(parts) if part != "." and (part or n == 0)]
    return "/".join(kept)
