"""Label Studio's predictions: tasks to import, coordinates in percent of the image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from service.jobs.formats.masks import brush_rle, mask_of
from service.jobs.records import Job, Record
from service.jobs.store import canonical
from service.version import read_version

Result = Mapping[str, Any]
Region = dict[str, Any]


def label_studio(job: Job, records: Callable[[], Iterable[Record]], image_prefix: str = "") -> Iterator[str]:
    """A list of tasks, each with its image's address in `data.image` and one prediction.

    image_prefix: text before an image's name that makes it a URL for Label Studio.
    """
    version = model_version([job.task], [job.revision, job.parameters])
    yield "["
    for index, record in enumerate(records()):
        result = record.result or {}
        prediction = {"model_version": version, "score": score(result), "result": regions_of(result)}
        data = {"image": image_address(image_prefix, record.name)}
        yield ("," if index else "") + canonical({"data": data, "predictions": [prediction]})
    yield "]\n"


def image_address(prefix: str, name: str) -> str:
    """An image's address: its name, percent-encoded where the prefix is part of an http address.

    For storages such as `s3://`, names stay as they are.
    """
    encoded = prefix.startswith(("/", "http://", "https://"))
    return prefix + (quote(name) if encoded else name)


def model_version(tasks: Iterable[str], facts: Any) -> str:
    """The version of the model in Label Studio, which keeps a prediction while the version is the same.

    facts: JSON values on which a prediction depends: whole revisions of weights, and parameters.
    """
    digest = hashlib.sha256(canonical([read_version(), facts]).encode()).hexdigest()
    return f"diffsight {read_version()} {'+'.join(tasks)} {digest[:12]}"


def score(result: Result) -> float:
    """One number for the whole prediction: the label's probability, or the mean score of the persons or masks.

    Clipped to 0..1, like all scores here: a heat map's peak may be above 1, which Label Studio refuses.
    """
    if "label" in result:
        return probability(result)
    scores = [person["score"] for person in result.get("persons", result.get("masks", ()))]
    return _clip(sum(scores) / len(scores)) if scores else 0.0


def probability(result: Result) -> float:
    """Probability of the label, by zero-shot or by a fitted classifier."""
    return float(result["posterior"][0]["probability"] if "posterior" in result else result["probability"])


def regions_of(result: Result) -> list[Region]:
    """The regions of a result, under the usual names of controls: `kp` and `kp_bbox`, `tag`, `choice`."""
    if "label" in result:
        return choice_regions(result)
    return pose_regions(result) if "persons" in result else mask_regions(result)


def choice_regions(result: Result, *, from_name: str = "choice", to_name: str = "image") -> list[Region]:
    """The label as a choice."""
    value = {"choices": [result["label"]]}
    about = {"id": from_name, "from_name": from_name, "to_name": to_name, "type": "choices"}
    return [{**about, "score": probability(result), "value": value}]


def mask_regions(result: Result, *, from_name: str = "tag", to_name: str = "image") -> list[Region]:
    """A brush region for each non-empty mask."""
    size = {"original_width": result["image"]["width"], "original_height": result["image"]["height"]}
    regions = []
    for index, mask in enumerate(result["masks"]):
        if mask["area"]:
            value = {"format": "rle", "rle": brush_rle(mask_of(mask)), "brushlabels": [mask["name"]]}
            about = {"id": f"mask-{index}", "from_name": from_name, "to_name": to_name, "type": "brushlabels", **size}
            regions.append(
                {**about, "image_rotation": 0, "readonly": False, "score": _clip(mask["score"]), "value": value}
            )
    return regions


def pose_regions(
    result: Result,
    *,
    from_name: str = "kp",
    box_name: str = "kp_bbox",
    to_name: str = "image",
    box_label: str = "person",
    parents: Sequence[str] = (),
) -> list[Region]:
    """A rectangle for each person, and its visible points, which have the rectangle as their parent.

    from_name, box_name: the controls of points and of boxes; without `box_name` there are points only.
    parents: ids of existing rectangles, one for each person. Points then refer to them, and no rectangles are made.
    """
    size = {
        "original_width": result["image"]["width"],
        "original_height": result["image"]["height"],
        "image_rotation": 0,
    }
    regions = []
    for index, person in enumerate(result["persons"]):
        if person["problem"]:
            continue
        parent = parents[index] if parents else f"bbox-{index}" if box_name else ""
        if box_name and not parents:
            about = {"id": parent, "from_name": box_name, "to_name": to_name, "type": "rectanglelabels", **size}
            value = _box_value(person["bbox"], size) | {"rotation": 0, "rectanglelabels": [box_label]}
            regions.append({**about, "score": _clip(person["bbox_score"]), "value": value})
        about = {"from_name": from_name, "to_name": to_name, "type": "keypointlabels", **size}
        about |= {"parentID": parent, "meta": {"text": [parent]}} if parent else {}
        prefix = f"{parent}-kp" if parents else f"kp-{index}"
        for place, point_score, value in _visible_points(result, person, size):
            regions.append({"id": f"{prefix}-{place}", **about, "score": _clip(point_score), "value": value})
    return regions


def _box_value(box: Sequence[float], size: Mapping[str, int]) -> dict[str, Any]:
    x, y, width, height = box
    across = _percent({"x": x, "width": width}, size["original_width"])
    return across | _percent({"y": y, "height": height}, size["original_height"])


def _visible_points(
    result: Result, person: Result, size: Mapping[str, int]
) -> Iterator[tuple[int, float, dict[str, Any]]]:
    """(index in the network's list, score, value) of the points in the image whose score is high enough."""
    width, height = size["original_width"], size["original_height"]
    points = zip(result["names"], person["keypoints"], person["keypoint_scores"], strict=False)
    for place, (name, (x, y), point_score) in enumerate(points):
        if point_score >= result["keypoint_threshold"] and 0 <= x <= width and 0 <= y <= height:
            value = _percent({"x": x}, width) | _percent({"y": y}, height)
            yield place, point_score, value | {"width": 0.3, "keypointlabels": [name]}


def _clip(score: float) -> float:
    return min(1.0, max(0.0, score))


def _percent(values: Mapping[str, float], whole: float) -> dict[str, Any]:
    return {name: 100 * value / whole for name, value in values.items()}
