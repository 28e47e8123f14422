"""CVAT for images 1.1: one XML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from service.jobs.formats.masks import mask_of, row_runs
from service.jobs.records import Job, Record

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def cvat(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """An `<image>` each: skeletons with a `<points>` a point (outside where its score is low), masks, or a `<tag>`."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield "  <meta>\n    <task>\n      <labels>\n"
    for name, kind, parent in _labels(records()):
        above = f"<parent>{_text(parent)}</parent>" if parent else ""
        yield f"        <label><name>{_text(name)}</name><type>{kind}</type><attributes></attributes>{above}</label>\n"
    yield "      </labels>\n    </task>\n  </meta>\n"
    for record in records():
        result = record.result or {}
        size = f'width="{result["image"]["width"]}" height="{result["image"]["height"]}"'
        yield f'  <image id="{frame_number(record)}" name={_attribute(record.name)} {size}>\n'
        if "label" in result:
            yield f'    <tag label={_attribute(result["label"])} source="auto"></tag>\n'
        for mask in result.get("masks", ()):
            if mask["area"]:
                x, y, w, h = mask["bbox"]
                runs = ", ".join(map(str, row_runs(mask_of(mask)[y : y + h, x : x + w])))
                box = f'left="{x}" top="{y}" width="{w}" height="{h}"'
                yield f'    <mask label={_attribute(mask["name"])} source="auto" occluded="0" rle="{runs}" {box} '
                yield 'z_order="0"></mask>\n'
        for person in result.get("persons", ()):
            if person["problem"]:
                continue
            yield '    <skeleton label="person" source="auto" z_order="0">\n'
            points = zip(result["names"], person["keypoints"], person["keypoint_scores"], strict=True)
            for name, (x, y), score in points:
                outside = int(score < result["keypoint_threshold"])
                at = f'outside="{outside}" occluded="0" points="{x:.2f},{y:.2f}"'
                yield f'      <points label={_attribute(name)} source="auto" {at}></points>\n'
            yield "    </skeleton>\n"
        yield "  </image>\n"
    yield "</annotations>\n"


def frame_number(record: Record) -> int:
    """CVAT's number of the image: its index in the job, or the frame number in a video."""
    return int(record.given.get("frame", record.position))


def _text(text: str) -> str:
    return escape(_legal(text))


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))


def _legal(text: str) -> str:
    """The text with what XML 1.0 cannot hold written as `\\u0007`."""
    return _ILLEGAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _labels(records: Iterable[Record]) -> list[tuple[str, str, str]]:
    """(name, type, label that it belongs to) of all labels of a job."""
    labels: dict[tuple[str, str, str], None] = {}
    for record in records:
        result = record.result or {}
        if "names" in result:
            labels[("person", "skeleton", "")] = None
            labels |= dict.fromkeys((name, "points", "person") for name in result["names"])
            break  # one network, the same points in every image
        if "label" in result:
            labels[(result["label"], "tag", "")] = None
        labels |= dict.fromkeys((mask["name"], "mask", "") for mask in result.get("masks", ()))
    return list(labels)
