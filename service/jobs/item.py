"""From one image of a job to its result. The runner of a server and a cluster both call this."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.engine import Engine
from heads.inputs import DecodedImage, Inputs
from service.jobs.boxes import place_boxes
from service.jobs.store import canonical
from service.run_task import Work
from service.state import AppState


async def run_item(state: AppState, work: Work, image: DecodedImage, given: Mapping[str, Any]) -> dict[str, Any]:
    """The result of one image as JSON values, including the image's size. Its rows are bulk work.

    given: properties of the image from its source; its boxes take precedence over those of the options.
    """
    options, note = work.options, ""
    if "boxes" in given and "boxes" in type(options).model_fields:
        boxes, note = place_boxes(given, image)
        options = options.model_copy(update={"boxes": boxes, "box_scores": None, "persons": "auto"})
    with state.models.worker.session(work.task.name, backbone=work.loaded.model, bulk=True) as session:
        result = await make_item(session, work, image, options)
    return {**result, "boxes_note": note} if note else result


async def make_item(engine: Engine, work: Work, image: DecodedImage, options: Any) -> dict[str, Any]:
    """The result of one image with other options than those of the work."""
    result = await work.task.run(engine, work.head, Inputs([image]), options, None)
    item = await engine.run_on_host(work.task.write_item, result, work.head, options)
    return {"image": {"width": image.width, "height": image.height}, **item}


def item_key(
    content: bytes | NDArray[np.uint8],
    task: str,
    revision: str,
    parameters: Mapping[str, Any],
    given: Mapping[str, Any],
) -> str:
    """SHA-256 of everything that decides a result: image, task, weights, parameters, the source's boxes.

    content: the image's file, or a decoded frame (H, W, 3) uint8.
    """
    digest = hashlib.sha256(content if isinstance(content, bytes) else np.ascontiguousarray(content).data).hexdigest()
    boxes = [box["bbox"] for box in given["boxes"]] if "boxes" in given else None
    if boxes and "source_size" in given:
        boxes = [*boxes, given["source_size"]]
    size = None if isinstance(content, bytes) else content.shape
    facts = [digest, size, task, revision, parameters, boxes]
    return hashlib.sha256(canonical(facts).encode()).hexdigest()
