"""A job's results in the formats of annotation tools, streamed: memory does not grow with the job.

A format is a function from a job and its records (which may be read several times) to pieces of one text, or to the
files of a folder, (path, text or bytes). In COCO's format, v = 2 if a point's score is at least the job's
`keypoint_threshold`, else 0; the scores are stored too.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import RawIOBase
from typing import TYPE_CHECKING

from backbones.errors import InvalidInput
from service.jobs.formats import coco, cvat, label_studio, maps, openpose, yolo
from service.jobs.records import Job, Record
from service.jobs.store import canonical
from service.tasks import AnyTask, find_task

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Records = Callable[[], Iterable[Record]]

# Characters that JSON does not escape, although some programs split lines at them.
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


def jsonl(job: Job, records: Records) -> Iterator[str]:
    """One JSON object on each line for each image: its name, the source's notes on it, and the result."""
    for record in records():
        line = canonical({"image_name": record.name, **record.given, **(record.result or {})})
        yield _LINE_ENDS.sub(lambda match: f"\\u{ord(match[0]):04x}", line) + "\n"


def failures(records: Iterable[Record]) -> Iterator[bytes]:
    """One JSON object on each line for each failed image: its name and the reason."""
    for record in records:
        yield (canonical({"image_name": record.name, "error": record.error}) + "\n").encode()


TEXTS: Mapping[str, tuple[str, Callable[[Job, Records], Iterator[str]]]] = {
    "jsonl": ("application/x-ndjson", jsonl),
    "coco": ("application/json", coco.coco),
    "label-studio": ("application/json", label_studio.label_studio),
    "cvat": ("application/xml", cvat.cvat),
}
FOLDERS: Mapping[str, Callable[[Job, Records], Iterator[tuple[str, str]] | Iterator[tuple[str, bytes]]]] = {
    "yolo": yolo.yolo,
    "openpose": openpose.openpose,
    "png": maps.png,
    "npy": maps.npy,
}
FORMATS = (*TEXTS, *FOLDERS)
PREFIXED = frozenset({"label-studio"})
"""The formats in which an image has an address, and which accept a prefix for it."""


def exports_of(tasks: tuple[AnyTask, ...], name: str) -> frozenset[str]:
    """The formats that a task supports, besides `jsonl`; none for a task that no longer exists."""
    task = find_task(tasks, name)
    return frozenset() if task is None else task.exports


def able_formats(exports: frozenset[str]) -> list[str]:
    """All formats that results can be exported in."""
    return [form for form in FORMATS if form == "jsonl" or form in exports]


def check_format(form: str, task: str, exports: frozenset[str], *, image_prefix: str = "") -> None:
    """Raises InvalidInput for an unknown format, or one that does not support the task's results or a prefix."""
    if form not in FORMATS:
        raise InvalidInput("format", f"{form!r} is not an export format", hint=f"send one of {', '.join(FORMATS)}")
    if form not in (able := able_formats(exports)):
        raise InvalidInput("format", f"results of {task} cannot be exported as {form}", hint=f"use {', '.join(able)}")
    if image_prefix and form not in PREFIXED:
        raise InvalidInput("image_prefix", f"{form} has no image addresses", hint="use it with label-studio")


def text_pieces(form: str, job: Job, records: Records, *, image_prefix: str = "") -> Iterator[bytes]:
    """The results as one file, in pieces. For a format with many files, a zip of them.

    image_prefix: for label-studio, text before the images' names.
    """
    if form in TEXTS:
        write = partial(label_studio.label_studio, image_prefix=image_prefix) if image_prefix else TEXTS[form][1]
        for piece in write(job, records):
            yield piece.encode()
        return
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in FOLDERS[form](job, records):
            archive.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)
            yield sink.take()
    yield sink.take()


def media_type(form: str) -> str:
    """Media type of the result of `text_pieces`."""
    return TEXTS[form][0] if form in TEXTS else "application/zip"


class _Sink(RawIOBase):
    """A write-only file object; `take` returns what was written since the last call."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: WriteableBuffer) -> int:
        self._written += data
        return len(memoryview(data))

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data
