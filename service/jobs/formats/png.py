"""Depth maps as 16-bit PNG files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator

from service.jobs.formats.paths import FreePaths
from service.jobs.records import Job, Record


def png(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, bytes]]:
    """`NAME.png` a picture, grey: a value times the `metres_per_unit` in the file's texts is metres."""
    paths = FreePaths()
    for record in records():
        if map_ := (record.result or {}).get("png16"):
            yield paths.take(record.name, ".png"), base64.b64decode(map_)
