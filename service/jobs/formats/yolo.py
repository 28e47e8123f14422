"""YOLO-pose: one text file for each image, and the data set's YAML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from heads.results import Keypoints
from service.jobs.formats.paths import FreePaths, path_key, safe_path
from service.jobs.formats.people import keypoints_of
from service.jobs.records import Job, Record


def yolo(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, str]]:
    """`labels/NAME.txt` a picture: `0 cx cy w h` and `x y v` a point, divided by width and height; then `data.yaml`.

    Boxes are cut at the picture's edges, and points outside it are written as not visible: trainers refuse values
    outside 0..1. Trainers look for the labels of `images/a/b.jpg` in `labels/a/b.txt`. Pictures that would share a
    label file (`b.jpg` and `b.png`) get files with their whole names.
    """
    shared = _find_shared_labels(records())
    paths = FreePaths()
    names: tuple[str, ...] = ()
    roots: dict[str, None] = {}
    for record in records():
        keypoints = keypoints_of(record.result or {})
        names = keypoints.names
        root, label = _label_name(record)
        roots[root] = None
        if path_key(label) in shared:
            label = _label_name(record, whole=True)[1]
        yield paths.take(label, ".txt"), "".join(_label_lines(record.result or {}, keypoints))
    mirror = [names.index(_other_side(name)) if _other_side(name) in names else at for at, name in enumerate(names)]
    # Without `path`, trainers start from the folder of this file.
    folders = json.dumps(list(roots) if len(roots) > 1 else next(iter(roots), "images"), ensure_ascii=False)
    yaml = f"train: {folders}\nval: {folders}\nkpt_shape: [{len(names)}, 3]\nflip_idx: {json.dumps(mirror)}\n"
    note = "# Some pictures share a name but for the suffix. Their labels are called a.jpg.txt: call them a.jpg.jpg.\n"
    yield "data.yaml", (note if shared else "") + yaml + "names:\n  0: person\n"


def _label_name(record: Record, *, whole: bool = False) -> tuple[str, str]:
    """The folder of images that a picture is in, and its label file without `.txt`.

    whole: with the picture's suffix. A frame's number is no suffix.
    """
    parts = safe_path(record.name).split("/")
    if not whole and "frame" not in record.given:
        parts[-1] = os.path.splitext(parts[-1])[0]
    if "images" not in parts[:-1]:
        return "images", "/".join(["labels", *parts])
    at = len(parts) - 2 - parts[-2::-1].index("images")
    return "/".join(parts[: at + 1]), "/".join([*parts[:at], "labels", *parts[at + 1 :]])


def _find_shared_labels(records: Iterable[Record]) -> set[int]:
    """The keys of label files that several images would share."""
    seen: set[int] = set()
    shared: set[int] = set()
    for record in records:
        key = path_key(_label_name(record)[1])
        (shared if key in seen else seen).add(key)
    return shared


def _label_lines(result: Mapping[str, Any], keypoints: Keypoints) -> Iterator[str]:
    width, height = result["image"]["width"], result["image"]["height"]
    for points, scores, (x, y, w, h) in zip(keypoints.points, keypoints.scores, keypoints.boxes, strict=True):
        left, top = max(0.0, x / width), max(0.0, y / height)
        right, bottom = min(1.0, (x + w) / width), min(1.0, (y + h) / height)
        if right <= left or bottom <= top:
            continue
        numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        for (px, py), score in zip(points / [width, height], scores, strict=True):
            seen = score >= result["keypoint_threshold"] and 0 <= px <= 1 and 0 <= py <= 1
            numbers += [px, py, 2] if seen else [0, 0, 0]
        yield "0 " + " ".join(f"{number:.6g}" for number in numbers) + "\n"


def _other_side(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")
