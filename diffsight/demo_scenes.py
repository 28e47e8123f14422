"""The demonstration's second half: rendered scenes that training never saw, through every dense route, as pictures."""

from __future__ import annotations

import io
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from rich.progress import Progress

from backbones.errors import DiffsightError
from training.datasets.world import WorldImages
from training.world import vocabulary
from training.world.vocabulary import QUESTION, QUESTION_TEMPLATE

HELD_OUT = Path(vocabulary.__file__).parent / "held_out"
DRAWN = 8
"""Scenes that are drawn with their answers."""
LEAST_AREA = 700
"""Least pixels of the named thing: a much smaller one covers few latents of a backbone of 128 x 128 pixels."""


class TimedClient:
    """A client that times its calls by route, and raises the server's errors."""

    def __init__(self, client: httpx2.AsyncClient, times: dict[str, list[float]]) -> None:
        self.client = client
        self.times = times

    async def get(self, route: str) -> None:
        """Time the call."""
        await self._call("GET", route, 200)

    async def post(self, route: str, *, expect: int = 200, **arguments: Any) -> Any:
        """The answer as JSON."""
        return (await self._call("POST", route, expect, **arguments)).json()

    async def picture(self, route: str, **arguments: Any) -> bytes:
        """The bytes of the answer."""
        return (await self._call("POST", route, 200, **arguments)).content

    async def _call(self, method: str, route: str, expect: int, **arguments: Any) -> httpx2.Response:
        started = time.perf_counter()
        response = await self.client.request(method, route, **arguments)
        if response.status_code != expect:
            raise DiffsightError(f"{method} {route} answered {response.status_code}: {response.text[:500]}")
        self.times.setdefault(f"{method} {route}", []).append(time.perf_counter() - started)
        return response


async def which_thing(caller: TimedClient, count: int, progress: Progress) -> tuple[int, int]:
    """How many of the first `count` scenes with one thing are classified correctly among ten kinds, and of how many."""
    scenes = WorldImages(HELD_OUT / "scenes")
    indices, labels = (question[:count] for question in scenes.questions())
    right = 0
    task = progress.add_task("which of ten things", total=len(indices))
    for index, label in zip(indices.tolist(), labels.tolist(), strict=True):
        data = {"labels": list(QUESTION), "templates": [QUESTION_TEMPLATE], "confidence": "0.95"}
        answer = await caller.post("/v1/classify/zero-shot", files={"image": png(scenes.image(index))}, data=data)
        best = max(answer["posterior"], key=lambda entry: float(entry["probability"]))
        right += best["label"] == QUESTION[label]
        progress.advance(task)
    return right, len(indices)


async def look_at_scenes(caller: TimedClient, progress: Progress) -> list[list[tuple[str, NDArray[np.uint8]]]]:
    """One row a scene: the image and what each dense route draws of it, with a caption each."""
    scenes = WorldImages(HELD_OUT / "scenes")
    said = _expressions(scenes)
    chosen = [index for index in said if "person" in scenes.kinds(index) and len(scenes.kinds(index)) > 1][:DRAWN]
    task = progress.add_task("depth, segmentation, referring, pose", total=len(chosen))
    rows = []
    for index in chosen:
        image = {"image": png(scenes.image(index))}
        boxes = [annotation["bbox"] for annotation in scenes.annotations[index] if "keypoints" in annotation]
        expression = said[index]
        requests: dict[str, tuple[str, dict[str, str]]] = {
            "depth, near is bright": ("/v1/depth", {"format": "colour"}),
            "kinds": ("/v1/segmentation", {"format": "overlay"}),
            expression: ("/v1/segmentation/referring", {"expression": expression, "format": "overlay"}),
            "keypoints": ("/v1/pose", {"boxes": json.dumps(boxes), "format": "overlay"}),
        }
        row = [("the scene", scenes.image(index))]
        for caption, (route, data) in requests.items():
            row.append((caption, _read(await caller.picture(route, files=image, data=data))))
        rows.append(row)
        progress.advance(task)
    return rows


async def find_by_example(caller: TimedClient, progress: Progress) -> list[list[tuple[str, NDArray[np.uint8]]]]:
    """One row for each kind that was not in the training data: an example with its mask, and masks of that kind in
    three other scenes.
    """
    scenes = WorldImages(HELD_OUT / "few_shot")
    largest: dict[str, list[tuple[float, int, Any]]] = defaultdict(list)
    for index, seen in scenes.annotations.items():
        for kind, annotation in zip(scenes.kinds(index), seen, strict=True):
            largest[kind].append((float(str(annotation["area"])), index, annotation["segmentation"]))
    task = progress.add_task("segmentation by example", total=len(largest))
    rows = []
    for kind, candidates in sorted(largest.items()):
        _, support, segmentation = max(candidates, key=lambda annotation: annotation[0])
        mask = coco_mask.decode(segmentation).astype(np.uint8)
        queries = [
            index for _, index, _ in sorted(candidates, key=lambda annotation: -annotation[0]) if index != support
        ][:3]
        shown = scenes.image(support).copy()
        shown[mask == 0] //= 3
        row = [(f"example: {kind}", shown)]
        for index in dict.fromkeys(queries):
            files = [
                ("image", png(scenes.image(index))),
                ("support_images", png(scenes.image(support))),
                ("support_masks", png(mask * 255)),
            ]
            data = {"format": "overlay", "name": kind}
            row.append((kind, _read(await caller.picture("/v1/segmentation/few-shot", files=files, data=data))))
        rows.append(row)
        progress.advance(task)
    return rows


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image (H, W, 3) or (H, W) uint8."""
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()


def _expressions(scenes: WorldImages) -> dict[int, str]:
    """For scenes with a large enough thing, an expression by kind, and by colour if the kind is ambiguous.

    Expressions of relative positions are left out: this backbone hardly understands relations.
    """
    references = json.loads((scenes.folder / "referring.json").read_text(encoding="utf-8"))["refs"]
    areas = {
        annotation["id"]: float(str(annotation["area"])) for seen in scenes.annotations.values() for annotation in seen
    }
    largest: dict[int, tuple[float, str]] = {}
    for reference in references:
        index, sentence = int(reference["image_id"]), str(reference["sentence"])
        if len(sentence.split()) <= 3:
            largest[index] = max(largest.get(index, (0.0, "")), (areas[reference["annotation_id"]], sentence))
    return {index: sentence for index, (area, sentence) in largest.items() if area >= LEAST_AREA}


def _read(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
