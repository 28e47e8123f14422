"""The images of a zip, and the COCO file in it that describes them."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from backbones.errors import InvalidInput
from heads.image_files import HEAD_BYTES, has_image_name, is_image, is_litter
from service.inputs.archives import entry_path, entry_problem, is_file
from service.inputs.names import readable_name
from service.inputs.zip_files import open_zip
from service.jobs.coco_source import describe_images, has_boxes, is_coco, place_images
from service.jobs.long_json import parse_json
from service.jobs.records import Item
from service.jobs.regular_files import check_document

_TWICE = "the archive holds several files of this name"


def images_of_zip(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The images of an archive by path, sorted, without litter."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        path = entry_path(entry)
        if not is_file(entry) or is_litter(path):
            continue
        while path in entries and entries[path].filename != entry.filename:  # a\b.png beside a/b.png
            path += "_"
        entries[path] = entry
    return {path: entries[path] for path in sorted(entries) if _is_archived_image(archive, path, entries[path])}


def _is_archived_image(archive: zipfile.ZipFile, path: str, entry: zipfile.ZipInfo) -> bool:
    named = has_image_name(path)
    if named is not None:
        return named
    if entry_problem(entry):
        return False
    try:
        with archive.open(entry) as file:
            return is_image(file.read(HEAD_BYTES))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError):
        return False


def list_zip(file: BinaryIO, most_bytes: int | None = None) -> Iterator[Item]:
    """The images of an archive, or those that a COCO file in it lists.

    most_bytes: of that file. Raises the errors of zipfile, and InvalidInput.
    """
    with open_zip(file) as archive:
        images = images_of_zip(archive)
        entries = [entry for entry in archive.infolist() if is_file(entry)]
        # A data set in COCO's layout brings its own order, ids and boxes.
        document = _find_document(archive, most_bytes)
    counts = Counter(entry.filename for entry in entries)
    if document is None:
        items: Iterable[Item] = (
            Item(n, readable_name(path), entry.filename, {}) for n, (path, entry) in enumerate(images.items())
        )
    else:
        addresses = {entry_path(entry): entry.filename for entry in entries}
        items = place_images(describe_images(document[1]), addresses, document[0])
    problems = {entry.filename: wrong.message for entry in entries if (wrong := entry_problem(entry))}
    problems |= {name: _TWICE for name, count in counts.items() if count > 1}
    for item in items:
        problem = problems.get(item.address)
        yield replace(item, given={**item.given, "problem": problem}) if problem else item


def _find_document(archive: zipfile.ZipFile, most_bytes: int | None) -> tuple[str, dict[str, Any]] | None:
    """The COCO file of an archive and its path: of several, the only one with boxes. Raises InvalidInput in doubt."""
    documents: dict[str, dict[str, Any]] = {}
    for entry in archive.infolist():
        path = entry_path(entry)
        if not path.lower().endswith(".json") or is_litter(path) or not is_file(entry):
            continue
        check_document(entry.file_size, most_bytes)
        if problem := entry_problem(entry):
            message = f"{problem.message}, so it cannot be checked for a COCO file"
            raise InvalidInput("source", message, hint="zip it again, or leave it out of the archive")
        data = archive.read(entry)
        # In UTF-16 every second byte of such a text is zero.
        plain = data.replace(b"\0", b"") if b"\0" in data[:4] else data
        if b'"images"' not in plain:
            continue
        try:
            content = parse_json(data)
        except ValueError as error:
            if b'"annotations"' not in plain:
                continue
            # If it were skipped, images would be processed without the boxes that were sent with them.
            message = f"{readable_name(path)[:200]!r} looks like a COCO file, but is not JSON: {error}"
            raise InvalidInput("source", message, hint="correct it, or leave it out of the archive") from error
        if is_coco(content):
            documents[path] = content
    candidates = {path: document for path, document in documents.items() if has_boxes(document)} or documents
    alike = {json.dumps(candidate["images"], sort_keys=True) for candidate in candidates.values()}
    if len(candidates) > 1 and (len(alike) > 1 or any(has_boxes(candidate) for candidate in candidates.values())):
        raise InvalidInput(
            "source",
            f"the archive holds several COCO files: {', '.join(sorted(candidates))[:300]}",
            hint="create a job for each, with one of them in the archive",
        )
    return next(iter(candidates.items()), None)
