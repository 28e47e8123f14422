"""Maps of depth and normals, one file for each image."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator

from heads.outputs import npy_file, read_map
from service.jobs.formats.paths import FreePaths
from service.jobs.records import Job, Record


def png(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, bytes]]:
    """`NAME.png` a picture. Depth is 16-bit grey, its scale in the file's texts; normals are 8-bit RGB."""
    return _files(records, ".png")


def npy(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, bytes]]:
    """`NAME.npy` a picture, float32: depth (H, W) or unit vectors (H, W, 3), with the precision of the PNG files."""
    for path, file in _files(records, ".npy"):
        yield path, npy_file(read_map(file))


def _files(records: Callable[[], Iterable[Record]], suffix: str) -> Iterator[tuple[str, bytes]]:
    """Path and PNG file of each result that has a map."""
    paths = FreePaths()
    for record in records():
        result = record.result or {}
        if file := result.get("png16") or result.get("png"):
            yield paths.take(record.name, suffix), base64.b64decode(file)
