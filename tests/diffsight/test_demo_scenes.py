"""The demonstration's scenes, with a stand-in client that needs no server."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import Progress

from diffsight.demo_scenes import DRAWN, TimedClient, look_at_scenes, png, which_thing


class FirstLabel(TimedClient):
    """Answers each classification with its first label, and each image with a grey one. calls: routes with data."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def post(self, route: str, *, expect: int = 200, **arguments: Any) -> Any:
        self.calls.append((route, arguments["data"]))
        labels = arguments["data"]["labels"]
        return {"posterior": [{"label": label, "probability": float(place == 0)} for place, label in enumerate(labels)]}

    async def picture(self, route: str, **arguments: Any) -> bytes:
        self.calls.append((route, arguments["data"]))
        with Image.open(BytesIO(arguments["files"]["image"])) as image:
            return png(np.full((image.height, image.width, 3), 99, np.uint8))


def test_right_answers_are_counted_of_as_many_scenes_as_were_requested() -> None:
    caller = FirstLabel()
    right, count = asyncio.run(which_thing(caller, 12, Progress(disable=True)))
    assert count == len(caller.calls) == 12
    assert 0 <= right < count


def test_each_scene_goes_through_every_dense_route() -> None:
    caller = FirstLabel()
    rows = asyncio.run(look_at_scenes(caller, Progress(disable=True)))
    assert 0 < len(rows) <= DRAWN
    assert {len(row) for row in rows} == {5}
    routes = [route for route, _ in caller.calls]
    assert routes[:4] == ["/v1/depth", "/v1/segmentation", "/v1/segmentation/referring", "/v1/pose"]
    assert json.loads(caller.calls[3][1]["boxes"])
