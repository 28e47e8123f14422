"""Label Studio's predictions: tasks to import, coordinates in percent of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from service.jobs.formats.masks import brush_rle, mask_of
from service.jobs.records import Job, Record
from service.jobs.store import canonical

Result = Mapping[str, Any]


def label_studio(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """A list of tasks, each with its image's name in `data.image` and one prediction."""
    yield "["
    for index, record in enumerate(records()):
        result = record.result or {}
        regions = regions_of(result)
        prediction = {"model_version": version(job), "score": score(result), "result": regions}
        yield ("," if index else "") + canonical({"data": {"image": record.name}, "predictions": [prediction]})
    yield "]\n"


def version(job: Job) -> str:
    """What Label Studio calls the model."""
    return f"diffsight {job.task} {job.revision[:12]}"


def score(result: Result) -> float:
    """One number for the whole prediction: the label's probability, or the mean score of the persons or masks.

    Within 0 and 1, as all scores here: Label Studio takes no others, and a heat map's peak may be above 1.
    """
    if "label" in result:
        return probability(result)
    scores = [one["score"] for one in result.get("persons", result.get("masks", ()))]
    return _bounded(sum(scores) / len(scores)) if scores else 0.0


def probability(result: Result) -> float:
    """Of the label, by zero-shot or by a fitted classifier."""
    return float(result["posterior"][0]["probability"] if "posterior" in result else result["probability"])


def regions_of(result: Result) -> list[dict[str, Any]]:
    """What is found, under the usual names of controls: `kp` and `kp_bbox`, `tag`, `choice`."""
    if "label" in result:
        return choice_regions(result)
    return pose_regions(result) if "persons" in result else mask_regions(result)


def choice_regions(result: Result, *, from_name: str = "choice", to_name: str = "image") -> list[dict[str, Any]]:
    """The label as a choice."""
    value = {"choices": [result["label"]]}
    about = {"from_name": from_name, "to_name": to_name, "type": "choices"}
    return [{**about, "score": probability(result), "value": value}]


def mask_regions(result: Result, *, from_name: str = "tag", to_name: str = "image") -> list[dict[str, Any]]:
    """A brush each for the masks that are not empty."""
    size = {"original_width": result["image"]["width"], "original_height": result["image"]["height"]}
    regions = []
    for index, mask in enumerate(result["masks"]):
        if mask["area"]:
            value = {"format": "rle", "rle": brush_rle(mask_of(mask)), "brushlabels": [mask["name"]]}
            about = {"id": f"mask-{index}", "from_name": from_name, "to_name": to_name, "type": "brushlabels", **size}
            regions.append(
                {**about, "image_rotation": 0, "readonly": False, "score": _bounded(mask["score"]), "value": value}
            )
    return regions


def pose_regions(
    result: Result,
    *,
    from_name: str = "kp",
    box_name: str = "kp_bbox",
    to_name: str = "image",
    box_label: str = "person",
) -> list[dict[str, Any]]:
    """A rectangle a person and its visible points, which name the rectangle as their parent.

    from_name, box_name: the controls of points and of boxes; without `box_name` there are points only.
    """
    width, height = result["image"]["width"], result["image"]["height"]
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    regions = []
    for index, person in enumerate(result["persons"]):
        if person["problem"]:
            continue
        box = f"bbox-{index}"
        x, y, w, h = person["bbox"]
        if box_name:
            value = _percent({"x": x, "width": w}, width) | _percent({"y": y, "height": h}, height)
            value |= {"rotation": 0, "rectanglelabels": [box_label]}
            about = {"id": box, "from_name": box_name, "to_name": to_name, "type": "rectanglelabels", **size}
            regions.append({**about, "score": _bounded(person["bbox_score"]), "value": value})
        points = zip(result["names"], person["keypoints"], person["keypoint_scores"], strict=False)
        for at, (name, (px, py), point_score) in enumerate(points):
            if point_score < result["keypoint_threshold"] or not (0 <= px <= width and 0 <= py <= height):
                continue
            value = _percent({"x": px}, width) | _percent({"y": py}, height) | {"width": 0.3, "keypointlabels": [name]}
            about = {"id": f"kp-{index}-{at}", "from_name": from_name, "to_name": to_name, "type": "keypointlabels"}
            parent = {"parentID": box, "meta": {"text": [box]}} if box_name else {}
            regions.append({**about, **size, **parent, "score": _bounded(point_score), "value": value})
    return regions


def _bounded(score: float) -> float:
    return min(1.0, max(0.0, score))


def _percent(values: Mapping[str, float], whole: float) -> dict[str, Any]:
    return {name: 100 * value / whole for name, value in values.items()}
