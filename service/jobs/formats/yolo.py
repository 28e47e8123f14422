"""YOLO-pose: one text file an image, and the data set's YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from service.jobs.formats.openpose import relative
from service.jobs.formats.people import keypoints_of
from service.jobs.store import Job, Record


def yolo(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, str]]:
    """`labels/NAME.txt` a picture: `0 cx cy w h` and `x y v` a point, divided by width and height; then `data.yaml`.

    Boxes are cut at the picture's edges, and points outside it are told as not visible: trainers refuse what is not
    within 0..1. The text has the picture's name without its suffix, as trainers look for it.
    """
    names: tuple[str, ...] = ()
    for record in records():
        result = record.result or {}
        found = keypoints_of(result)
        names = found.names
        width, height = result["image"]["width"], result["image"]["height"]
        lines = []
        for points, scores, (x, y, w, h) in zip(found.points, found.scores, found.boxes, strict=True):
            left, top = max(0.0, x / width), max(0.0, y / height)
            right, bottom = min(1.0, (x + w) / width), min(1.0, (y + h) / height)
            if right <= left or bottom <= top:
                continue
            numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            for (px, py), score in zip(points / [width, height], scores, strict=True):
                seen = score >= result["keypoint_threshold"] and 0 <= px <= 1 and 0 <= py <= 1
                numbers += [px, py, 2] if seen else [0, 0, 0]
            lines.append("0 " + " ".join(f"{number:.6g}" for number in numbers) + "\n")
        yield f"labels/{relative(record.name).rpartition('.')[0]}.txt", "".join(lines)
    mirror = [names.index(_other_side(name)) if _other_side(name) in names else at for at, name in enumerate(names)]
    yaml = f"path: .\ntrain: images\nval: images\nkpt_shape: [{len(names)}, 3]\nflip_idx: {json.dumps(mirror)}\n"
    yield "data.yaml", yaml + "names:\n  0: person\n"


def _other_side(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")
