"""Whether two servers give the same answers, and by how much they differ."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.mixed.load import PATHS, Connection, picture, request_of

IMAGES = 16
TOLERANCES = {"depth": 0.005, "pose": 0.1, "features": 0.002, "zero_shot": 0.001}
"""Metres, pixels, feature values and mean errors of the predicted noise."""


async def compare(ours: str, other: str, *, other_takes_json: bool, first: int) -> dict[str, float]:
    """The largest difference of each task's answers. All requests are sent at once, so that both servers batch.

    Raises AssertionError for a difference above its tolerance, or another label.
    """
    pictures = [picture(first + place) for place in range(IMAGES)]
    answers: list[list[Any]] = []
    for url, as_json in ((ours, False), (other, other_takes_json)):
        requests = [(task, data) for task in PATHS for data in pictures]
        answers.append(await asyncio.gather(*[_ask(url, task, data, as_json) for task, data in requests]))
    differences: dict[str, float] = {}
    for place, (own, theirs) in enumerate(zip(*answers, strict=True)):
        task = list(PATHS)[place // IMAGES]
        values, other_values = (_VALUES[task](answer) for answer in (own, theirs))
        if task == "zero_shot":
            assert own["label"] == theirs["label"], f"{task}: {own['label']} and {theirs['label']}"
        differences[task] = max(differences.get(task, 0.0), float(np.abs(values - other_values).max()))
    for task, difference in differences.items():
        assert difference <= TOLERANCES[task], f"{task} of {ours} and {other} differ by {difference:g}"
    return differences


async def _ask(url: str, task: str, data: bytes, as_json: bool) -> Any:
    connection = Connection(url)
    try:
        status, body = await connection.send(request_of(connection.host, task, data, as_json=as_json))
    finally:
        connection.close()
    assert status == 200, f"{url} {task}: {status} {body[:300]!r}"
    return json.loads(body)


def _metres(answer: Any) -> NDArray[np.float64]:
    """(H, W)."""
    image = Image.open(BytesIO(base64.b64decode(answer["png16"])))
    return np.asarray(image).astype(np.float64) * float(answer["metres_per_unit"])


_VALUES: Mapping[str, Callable[[Any], NDArray[np.float64]]] = {
    "depth": _metres,
    "pose": lambda answer: np.array(answer["persons"][0]["keypoints"]),
    "features": lambda answer: np.array(answer["vectors"][0]),
    "zero_shot": lambda answer: np.array(
        [entry["mean_error"] for entry in sorted(answer["posterior"], key=lambda entry: entry["label"])]
    ),
}
