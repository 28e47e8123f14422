"""Regions of one image with the names of a Label Studio project, for a whole task or for an annotator's drawing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.jobs.formats.label_studio import Region, choice_regions, mask_regions, pose_regions, score
from service.jobs.item import make_item
from service.protocols.label_studio_project import Control, Filling

# What Label Studio calls the origin of regions that came from a prediction. It sends them with those that were drawn,
# and they have what points they have. Answered rectangles get the second: the next context does not have their points.
_PREDICTED = ("prediction", "prediction-changed")


@dataclass(frozen=True, slots=True)
class Drawing:
    """What an annotator drew by automatic annotation.

    regions: to answer, oldest first. parents: ids of rectangles that have points already.
    """

    regions: Sequence[Region]
    parents: frozenset[str]


def read_drawing(drawn: Sequence[Any], seen: Iterable[Any]) -> Drawing:
    """A drawing from the regions of a call's context and all other regions that Label Studio sends of the task."""
    regions = [dict(region) for region in drawn if isinstance(region, Mapping)]
    for index, region in enumerate(regions):
        region["id"] = str(region.get("id") or f"drawn-{index}")
    points = (
        region for region in (*regions, *seen) if isinstance(region, Mapping) and region.get("type") == "keypointlabels"
    )
    return Drawing(regions, frozenset(str(point["parentID"]) for point in points if point.get("parentID")))


async def fill_image(
    engines: Mapping[Backbone, Engine], fillings: Sequence[Filling], image: DecodedImage, drawing: Drawing | None
) -> tuple[list[Region], float]:
    """The regions of an image, and their score within 0 and 1.

    With a drawing, each of its regions is answered separately: a rectangle of persons with its points, a brush with the
    mask of its label. Ids are made from the drawn region's id, so that no other region is overwritten. Raises
    InvalidInput for a rectangle without corners.
    """
    regions: list[Region] = []
    scores = []
    for filling in fillings:
        engine = engines[filling.work.loaded.model]
        if drawing is None:
            item = await make_item(engine, filling.work, image, filling.work.options)
            prefix = f"{filling.control.name}-{filling.work.task.name}-" if len(fillings) > 1 else ""
            regions += _prefix_ids(_whole_regions(filling, item), prefix)
            scores.append(score(item))
        elif filling.control.kind == "keypoints":
            regions += await _points_of_rectangles(engine, filling, image, drawing)
        elif filling.control.kind == "masks":
            regions += await _masks_of_brushes(engine, filling, image, drawing)
    if drawing is not None:
        scores = [region["score"] for region in regions if "score" in region]
    return regions, sum(scores) / len(scores) if scores else 0.0


def _prefix_ids(regions: list[Region], prefix: str) -> list[Region]:
    """The regions with ids that are unique among all controls: Label Studio joins regions of one id."""
    for region in regions:
        region["id"] = prefix + region["id"]
        if "parentID" in region:
            region["parentID"] = prefix + region["parentID"]
            region["meta"] = {"text": [region["parentID"]]}
    return regions


def _whole_regions(filling: Filling, item: dict[str, Any]) -> list[Region]:
    """The regions of a task's result under a control's names."""
    control = filling.control
    if control.kind == "choices":
        named = item | {"label": filling.labels[item["label"]]}
        return choice_regions(named, from_name=control.name, to_name=control.to_name)
    if control.kind == "masks":
        return _mask_regions(filling, item)
    regions = pose_regions(
        item, from_name=control.name, box_name=control.boxes, to_name=control.to_name, box_label=control.box_label
    )
    return _rename_points(regions, control, item["names"])


def _mask_regions(filling: Filling, item: dict[str, Any]) -> list[Region]:
    labels = filling.labels
    masks = [mask | {"name": labels[mask["name"]]} for mask in item["masks"] if mask["name"] in labels]
    control = filling.control
    return mask_regions(item | {"masks": masks}, from_name=control.name, to_name=control.to_name)


def _rename_points(regions: Sequence[Region], control: Control, names: Sequence[str]) -> list[Region]:
    """The regions with the project's labels; points that it has no label for are left out."""
    places = {name: place for place, name in enumerate(names)}
    kept = []
    for region in regions:
        if region["type"] == "keypointlabels":
            (name,) = region["value"]["keypointlabels"]
            label = control.label_of(name, places[name])
            if label is None:
                continue
            region["value"]["keypointlabels"] = [label]
        kept.append(region)
    return kept


async def _points_of_rectangles(
    engine: Engine, filling: Filling, image: DecodedImage, drawing: Drawing
) -> list[Region]:
    """The control's rectangles as drawn, and points of those that have none yet.

    Label Studio deletes a drawn region when its suggestions are accepted, unless the region is one of them.
    """
    control, work = filling.control, filling.work
    rectangles = [region for region in drawing.regions if _is_drawn_with(region, control.boxes, "rectanglelabels")]
    persons = [
        region
        for region in rectangles
        if region["id"] not in drawing.parents
        and region.get("origin") not in _PREDICTED
        and control.box_label in _labels_of(region, "rectanglelabels")
    ]
    points: list[Region] = []
    if persons:
        boxes = [bound_region(region, image) for region in persons]
        item = await make_item(engine, work, image, work.options.model_copy(update={"boxes": boxes}))
        parents = [region["id"] for region in persons]
        regions = pose_regions(item, from_name=control.name, to_name=control.to_name, parents=parents)
        points = _rename_points(regions, control, item["names"])
    answered = {region["id"] for region in persons}
    kept = [region | ({"origin": _PREDICTED[1]} if region["id"] in answered else {}) for region in rectangles]
    return [*kept, *points]


async def _masks_of_brushes(engine: Engine, filling: Filling, image: DecodedImage, drawing: Drawing) -> list[Region]:
    """For each drawn label, its mask instead of the newest stroke; strokes without a mask stay unchanged."""
    control, work = filling.control, filling.work
    newest = {
        label: region
        for region in drawing.regions
        if _is_drawn_with(region, control.name, "brushlabels")
        for label in _labels_of(region, "brushlabels")
        if label in filling.labels.values()
    }
    if not newest:
        return []
    regions = _mask_regions(filling, await make_item(engine, work, image, work.options))
    masks = {region["value"]["brushlabels"][0]: region for region in regions}
    return [masks.get(label, stroke) | {"id": stroke["id"]} for label, stroke in newest.items()]


def _is_drawn_with(region: Region, name: str, kind: str) -> bool:
    """Whether a region is of this kind and this control; a region without a control's name may belong to any."""
    return region.get("type") == kind and bool(name) and region.get("from_name", name) == name


def _labels_of(region: Region, kind: str) -> list[str]:
    value = region.get("value")
    labels = value.get(kind) if isinstance(value, Mapping) else None
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []


def bound_region(region: Region, image: DecodedImage) -> list[float]:
    """The upright box around a drawn rectangle, [x, y, width, height] in pixels.

    Label Studio turns a rectangle by `rotation` degrees clockwise around its upper left corner.
    Raises InvalidInput for a rectangle with missing numbers.
    """
    value = region.get("value")
    try:
        x, y, width, height = (float(value[name]) / 100 for name in ("x", "y", "width", "height"))  # type: ignore[index]
        turn = math.radians(float(value.get("rotation") or 0))  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput("params", f"a rectangle without {error}", hint="send x, y, width, height") from error
    width, height = width * image.width, height * image.height
    xs = [0, width * math.cos(turn), -height * math.sin(turn)]
    ys = [0, width * math.sin(turn), height * math.cos(turn)]
    xs.append(xs[1] + xs[2])
    ys.append(ys[1] + ys[2])
    return [x * image.width + min(xs), y * image.height + min(ys), max(xs) - min(xs), max(ys) - min(ys)]
