"""An auto-annotation function for CVAT that sends requests to a diffsight server. It needs only cvat-sdk and numpy.

cvat-cli task auto-annotate TASK --function-file cvat_function.py -p url=str:http://127.0.0.1:8000 -p task=str:pose
docs/annotation-tools.md tells of its parameters.
"""

from __future__ import annotations

import http.client
import io
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import urllib3.exceptions
from cvat_sdk.masks import encode_mask

_ROUTES = {
    "pose": "/v1/pose",
    "segmentation": "/v1/segmentation",
    "referring": "/v1/segmentation/referring",
    "few-shot": "/v1/segmentation/few-shot",
}


class NoAnswer(cvataa.BadFunctionError, urllib3.exceptions.HTTPError):  # type: ignore[misc]
    """The server cannot be reached, or refuses.

    `cvat-cli` ends with the message of an HTTP error, without a traceback.
    """


class Function:
    """A task of a server as CVAT's function."""

    def __init__(self, url: str, key: str, task: str, labels: Sequence[str], concepts: Sequence[str]) -> None:
        if task not in _ROUTES:
            raise cvataa.BadFunctionError(f"task {task!r} is none of {', '.join(_ROUTES)}")
        self._url, self._key, self._task = url.rstrip("/"), key, task
        self._options: dict[str, Any] = {"referring": {"expressions": labels}, "few-shot": {"concepts": concepts}}.get(
            task, {}
        )
        names = self._names(labels, concepts)
        if task == "pose":
            points = [cvataa.keypoint_spec(name, at) for at, name in enumerate(names)]
            specs = [cvataa.skeleton_label_spec("person", 0, points)]
        else:
            # "any" fits masks, and polygons into which CVAT may convert them.
            specs = [cvataa.label_spec(name, at) for at, name in enumerate(names)]
        self.spec = cvataa.DetectionFunctionSpec(labels=specs)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        """The annotations of one frame."""
        file = encode(image)
        if self._task == "pose":
            return self._skeletons(context, json.loads(self._ask(file)))
        if context.conv_mask_to_poly:
            return self._polygons(json.loads(self._ask(file, format="polygons")))
        labels = np.load(io.BytesIO(self._ask(file, format="npy")), allow_pickle=False)
        if labels.ndim == 2:  # numbers of classes from 0, or of concepts from 1
            first = 1 if self._task == "few-shot" else 0
            numbers = [number for number in np.unique(labels).tolist() if number >= first]
            masks = [(number - first, labels == number) for number in numbers]
        else:
            masks = [(at, mask) for at, mask in enumerate(labels) if mask.any()]
        return [cvataa.mask(at, encode_mask(mask)) for at, mask in masks]

    def _names(self, labels: Sequence[str], concepts: Sequence[str]) -> list[str]:
        """The names of the task's labels, in the order of its numbers."""
        if self._task in ("referring", "few-shot"):
            names = labels if self._task == "referring" else concepts
            if not names:
                wanted = "labels" if self._task == "referring" else "concepts"
                raise cvataa.BadFunctionError(f"{self._task} needs -p {wanted}=str:A,B")
            if self._task == "referring":
                return list(labels)
            return [json.loads(self._request(f"/v1/concepts/{concept}"))["name"] for concept in concepts]
        small = io.BytesIO()
        PIL.Image.new("RGB", (16, 16)).save(small, "PNG")
        if self._task == "pose":
            return list(json.loads(self._ask(small.getvalue(), boxes="[]"))["names"])
        return list(json.loads(self._ask(small.getvalue()))["classes"])

    def _skeletons(self, context: cvataa.DetectionFunctionContext, answer: Any) -> list[cvataa.DetectionAnnotation]:
        least = 0.3 if context.conf_threshold is None else context.conf_threshold
        shapes = []
        for person in answer["persons"]:
            if person["problem"] or person["score"] < (context.conf_threshold or 0):
                continue
            points = enumerate(zip(person["keypoints"], person["keypoint_scores"], strict=True))
            elements = [cvataa.keypoint(at, place, outside=bool(score < least)) for at, (place, score) in points]
            if any(score >= least for score in person["keypoint_scores"]):
                shapes.append(cvataa.skeleton(0, elements))
        return shapes

    def _polygons(self, answer: Any) -> list[cvataa.DetectionAnnotation]:
        if self._task == "few-shot":
            parts = [(concept["label"] - 1, concept["mask"]) for concept in answer["concepts"]]
        elif self._task == "segmentation":
            parts = [(answer["classes"].index(segment["name"]), segment) for segment in answer["segments"]]
        else:
            parts = list(enumerate(answer["masks"]))
        return [cvataa.polygon(at, outline) for at, part in parts for outline in part["polygons"] if len(outline) >= 6]

    def _ask(self, image: bytes, **options: str) -> bytes:
        query = urlencode({**self._options, **options}, doseq=True)
        return self._request(f"{_ROUTES[self._task]}?{query}", image)

    def _request(self, path: str, image: bytes | None = None) -> bytes:
        headers = {"Content-Type": "image/png" if image[:4] == b"\x89PNG" else "image/tiff"} if image else {}
        headers |= {"X-API-Key": self._key} if self._key else {}
        request = urllib.request.Request(self._url + path, data=image, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                data: bytes = response.read()
                return data
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            raise NoAnswer(f"{self._url}{path.partition('?')[0]} answered {error.code}: {text[:500]}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            hint = "start it with `diffsight serve`, or name another server with -p url=str:URL"
            raise NoAnswer(f"no answer from {self._url} ({reason}): {hint}") from error


def encode(image: PIL.Image.Image) -> bytes:
    """The frame as a file, with the pixels that the server itself would decode.

    16-bit grey is scaled to 8 bits and transparency laid over white. 32-bit pixels are sent unchanged: the server
    refuses them, because their range is unknown.
    """
    file = io.BytesIO()
    if image.mode == "F":
        image.save(file, "TIFF")
        return file.getvalue()
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        image = PIL.Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode != "I":  # older versions of Pillow read 16 bits in this mode, and write them again
        if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
            layered = image.convert("RGBA")
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layered.size, "white"), layered)
        image = image.convert("RGB")
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def create(
    url: str = "http://127.0.0.1:8000", key: str = "", task: str = "pose", labels: str = "", concepts: str = ""
) -> Function:
    """The function that CVAT calls. labels, concepts: lists with commas.

    Raises BadFunctionError for an unknown task, and its subclass NoAnswer with the server's answer.
    """
    lists = [[part.strip() for part in text.split(",") if part.strip()] for text in (labels, concepts)]
    return Function(url, key, task, *lists)
