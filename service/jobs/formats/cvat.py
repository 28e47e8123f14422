"""CVAT for images 1.1: one XML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from xml.sax.saxutils import quoteattr

from service.jobs.store import Job, Record


def cvat(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """An `<image>` each: skeletons with a `<points>` for each point (outside where its score is low), or a `<tag>`."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    for record in records():
        result = record.result or {}
        size = f'width="{result["image"]["width"]}" height="{result["image"]["height"]}"'
        yield f'  <image id="{record.position}" name={quoteattr(record.name)} {size}>\n'
        if job.task == "zero-shot":
            yield f'    <tag label={quoteattr(result["label"])} source="auto"></tag>\n'
        for person in result.get("persons", ()):
            if person["problem"]:
                continue
            yield '    <skeleton label="person" source="auto" z_order="0">\n'
            points = zip(result["names"], person["keypoints"], person["keypoint_scores"], strict=True)
            for name, (x, y), score in points:
                outside = int(score < result["keypoint_threshold"])
                at = f'outside="{outside}" occluded="0" points="{x:.2f},{y:.2f}"'
                yield f'      <points label={quoteattr(name)} source="auto" {at}></points>\n'
            yield "    </skeleton>\n"
        yield "  </image>\n"
    yield "</annotations>\n"
