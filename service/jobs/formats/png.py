"""Maps of depth and of normals as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator

from service.jobs.formats.paths import FreePaths
from service.jobs.records import Job, Record


def png(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, bytes]]:
    """`NAME.png` a picture. Depth is 16-bit grey, its scale in the file's texts; normals are 8-bit RGB."""
    paths = FreePaths()
    for record in records():
        result = record.result or {}
        if map_ := result.get("png16") or result.get("png"):
            yield paths.take(record.name, ".png"), base64.b64decode(map_)
