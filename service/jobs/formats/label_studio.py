"""Label Studio's predictions: tasks to import, coordinates in percent of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from service.jobs.store import Job, Record, canonical

Result = Mapping[str, Any]


def label_studio(job: Job, records: Callable[[], Iterable[Record]]) -> Iterator[str]:
    """A list of tasks, each with its image's name in `data.image` and one prediction."""
    yield "["
    for index, record in enumerate(records()):
        result = record.result or {}
        regions = pose_regions(result) if job.task == "pose" else choice_regions(result)
        prediction = {"model_version": version(job), "score": score(result), "result": regions}
        yield ("," if index else "") + canonical({"data": {"image": record.name}, "predictions": [prediction]})
    yield "]\n"


def version(job: Job) -> str:
    """What Label Studio calls the model."""
    return f"diffsight {job.task} {job.revision[:12]}"


def score(result: Result) -> float:
    """One number for the whole prediction: the probability of the label, or the mean of the persons' scores."""
    if "posterior" in result:
        return float(result["posterior"][0]["probability"])
    scores = [person["score"] for person in result["persons"]]
    return sum(scores) / len(scores) if scores else 0.0


def choice_regions(result: Result, *, from_name: str = "choice", to_name: str = "image") -> list[dict[str, Any]]:
    """The label as a choice."""
    value = {"choices": [result["label"]]}
    probability = result["posterior"][0]["probability"]
    return [{"from_name": from_name, "to_name": to_name, "type": "choices", "score": probability, "value": value}]


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
        box = f"bbox-{index}"
        x, y, w, h = person["bbox"]
        if box_name:
            value = _percent({"x": x, "width": w}, width) | _percent({"y": y, "height": h}, height)
            value |= {"rotation": 0, "rectanglelabels": [box_label]}
            about = {"id": box, "from_name": box_name, "to_name": to_name, "type": "rectanglelabels", **size}
            regions.append({**about, "score": person["bbox_score"], "value": value})
        points = zip(result["names"], person["keypoints"], person["keypoint_scores"], strict=False)
        for at, (name, (px, py), point_score) in enumerate(points):
            if point_score < result["keypoint_threshold"] or not (0 <= px <= width and 0 <= py <= height):
                continue
            value = _percent({"x": px}, width) | _percent({"y": py}, height) | {"width": 0.3, "keypointlabels": [name]}
            about = {"id": f"kp-{index}-{at}", "from_name": from_name, "to_name": to_name, "type": "keypointlabels"}
            parent = {"parentID": box, "meta": {"text": [box]}} if box_name else {}
            regions.append({**about, **size, **parent, "score": point_score, "value": value})
    return regions


def _percent(values: Mapping[str, float], whole: float) -> dict[str, Any]:
    return {name: 100 * value / whole for name, value in values.items()}
