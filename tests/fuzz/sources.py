"""Hostile archives and COCO files, and faults of listing and reading them."""

from __future__ import annotations

import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from backbones.errors import InvalidInput
from service.inputs.archives import check_archive
from service.jobs.sources import Reader, Source, list_items
from service.jobs.store import canonical
from service.settings.groups import LimitSettings
from tests.fuzz.images import seed_images

NAMES = (
    *(
        "a.png",
        "A.png",
        "a.jpg",
        "b/a.png",
        "b\\a.png",
        "./a.png",
        "../a.png",
        "/a.png",
        "C:/a.png",
        "a:b.png",
        "12:30.png",
    ),
    *(
        "\u202fa.png",
        "e\u0301.png",
        "\u00e9.png",
        "\U0001f469\u200d\U0001f467.png",
        "\ufeff.png",
        "a\tb.png",
        "[a]?.png",
    ),
    *(
        ".a.png",
        "._a.png",
        "__MACOSX/a.png",
        "@eaDir/a.png",
        "a",
        "blob",
        " .png",
        "x" * 300 + ".png",
        "CON.png",
        "a.png/",
    ),
)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 1.0, 2.5, "1", "\ud800", "", None, True, [1], {"a": 1}, 10**40, 1e308, -1e308, 1e-300),
    *(float("nan"), float("inf"), -float("inf"), [float("nan")], ["\ud800"]),
)
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")


def coco_file(chance: random.Random) -> bytes:
    """A COCO file, of which any value may be any other."""

    def odd(value: Any) -> Any:
        return chance.choice(NUMBERS) if chance.random() < 0.15 else value

    images = [
        odd({"id": odd(n), "file_name": odd(chance.choice(NAMES)), "width": odd(24), "height": odd(18)})
        for n in range(4)
    ]
    boxes = [
        odd(
            {"id": odd(n), "image_id": odd(n % 4), "category_id": odd(1), "bbox": odd([odd(1), odd(2), odd(9), odd(9)])}
        )
        for n in range(6)
    ]
    for box in boxes:
        if isinstance(box, dict) and chance.random() < 0.3:
            box |= {"iscrowd": odd(0), "score": odd(0.5), "segmentation": odd({"counts": "abc", "size": [18, 24]})}
    categories = [odd({"id": odd(1), "name": odd("person")}), odd({"id": odd(2), "name": "dog"})]
    content = {"images": odd(images), "annotations": odd(boxes), "categories": odd(categories)}
    text = json.dumps(content)
    return (text[: chance.randrange(len(text))] if chance.random() < 0.1 else text).encode(chance.choice(ENCODINGS))


def archive(chance: random.Random) -> bytes:
    """A zip of pictures under odd names, some of them links, some twice, with a COCO file or none; damaged or not."""
    pictures = list(seed_images().values())
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        with zipfile.ZipFile(file, "w") as zipped:
            for _ in range(chance.randrange(1, 6)):
                entry = zipfile.ZipInfo(chance.choice(NAMES))
                entry.external_attr = chance.choice([0, 0, 0, 0o120777 << 16, 0o010644 << 16])
                method = chance.choice(
                    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
                )
                zipped.writestr(entry, chance.choice([*pictures, b"", b"text", file.getvalue()]), method)
            if chance.random() < 0.6:
                zipped.writestr(chance.choice(["ann.json", "b/ann.json", "._ann.json"]), coco_file(chance))
    data = bytearray(file.getvalue())
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        at = chance.choice([chance.randrange(len(data)), max(0, data.rfind(b"PK\x01\x02")) + chance.randrange(46)])
        form = chance.choice(["<B", "<H", "<I"])
        if at + struct.calcsize(form) <= len(data):
            struct.pack_into(
                form, data, at, chance.choice([0, 1, 0x7F]) if form == "<B" else chance.choice([0, 1, 0xFFFF])
            )
    start = chance.choice([b"", b"", b"", b"MZ" + bytes(100)])
    return start + bytes(data) + chance.choice([b"", b"", b"", bytes(30)])


def hostile_archives(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` archives with names that reproduce them; the same for the same seed."""
    for index in range(count):
        yield f"{seed} {index}", archive(random.Random(f"{seed} archive {index}"))


def wrong_listing(data: bytes, folder: Path) -> str:
    """What is wrong with how an uploaded archive is listed and read; empty if nothing is.

    Whatever it holds, it is refused with a reason, or listed with values that a database and JSON hold; each image is
    read or fails by itself, and no two share a name.
    """
    file = folder / "a.zip"
    file.write_bytes(data)
    source = Source(kind="zip", address=str(file))
    try:
        check_archive(BytesIO(data), LimitSettings())
        items = list(list_items(source, most_bytes=1_000_000))
    except InvalidInput as error:
        return "" if error.message and error.hint else f"a refusal that says nothing: {error!r}"
    except BaseException as error:
        return f"listing: {type(error).__name__}: {error}"
    reader = Reader(source, most_bytes=1_000_000)
    try:
        for item in items:
            canonical([item.name, item.address, item.given]).encode()
            with suppress(InvalidInput, OSError):  # it fails alone
                reader.read(item)
    except BaseException as error:
        return f"reading: {type(error).__name__}: {error}"
    finally:
        reader.close()
    plain = [item.name for item in items if "image_id" not in item.given and "problem" not in item.given]
    return "" if len(set(plain)) == len(plain) else f"two images of one name: {plain}"


def fuzz_archives(count: int, seed: int, folder: Path, on_case: Callable[[], object]) -> dict[str, str]:
    """What is wrong with hostile archives: name -> text."""
    wrong: dict[str, str] = {}
    for name, data in hostile_archives(count, seed):
        if text := wrong_listing(data, folder):
            wrong[name] = text
        on_case()
    return wrong
