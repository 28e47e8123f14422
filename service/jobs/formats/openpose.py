"""OpenPose JSON: one file for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from heads.sdpose.openpose import openpose_json
from service.jobs.formats.paths import FreePaths
from service.jobs.formats.people import keypoints_of
from service.jobs.records import Job, Record
from service.jobs.store import canonical


def openpose(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, str]]:
    """`NAME_keypoints.json` a picture, below its own folder."""
    paths = FreePaths()
    for record in records():
        result = record.result or {}
        size = result["image"]
        people = openpose_json(keypoints_of(result), size["height"], size["width"])
        yield paths.take(record.name, "_keypoints.json"), canonical({"version": 1.1, **people}) + "\n"
