"""Folders of images with depth, classes and expressions, in the layout that the rendered world is written in.

    images/NAME.png|jpg       8-bit RGB
    depth/NAME.png            16-bit grey, millimetres, 0 if there is none
    semantic/NAME.png         8-bit class indices, 255 if there is none
    instances.json            COCO: annotations with RLE masks; info.semantic_names or categories name the classes
    referring.json            {"refs": [{"image_id", "annotation_id", "sentence"}, ...]}

A task needs its own parts alone.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from heads.image_files import check_stems, images_in
from heads.pixels import read_class_map, read_picture
from heads.vpd.heads import DenseTask

IGNORED = 255


@dataclass(frozen=True, slots=True)
class Sample:
    """One example. truth: file of depth or classes; referring has an annotation instead, and a sentence."""

    image: Path
    truth: Path | None
    sentence: str = ""
    annotation: int = 0


class DenseFolder:
    """The examples of one task in a folder. Raises InvalidInput if a part of the layout is missing or empty."""

    def __init__(self, folder: Path, task: DenseTask, *, most: int = 0) -> None:
        self.folder = folder
        self.task = task
        self._annotations: dict[int, dict[str, Any]] = {}
        if task == "referring":
            samples = self._expressions()
        else:
            part = "depth" if task == "depth" else "semantic"
            samples = [
                Sample(image, truth)
                for image in self._images()
                if (truth := folder / part / f"{image.stem}.png").is_file()
            ]
        if not samples:
            raise InvalidInput(
                "folder", f"{folder} has no examples for {task}", hint="docs/heads.md shows the layout of a folder"
            )
        self.samples = samples[:most] if most else samples

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by index. Raises InvalidInput if the folder has no names."""
        content = self._json("instances.json")
        names = (content.get("info") or {}).get("semantic_names")
        if names:
            return tuple(map(str, names))
        categories = {int(category["id"]): str(category["name"]) for category in content.get("categories", [])}
        if not categories:
            raise InvalidInput("folder", f"{self.folder}/instances.json names no classes", hint="fill in categories")
        return tuple(categories.get(index, f"class {index}") for index in range(max(categories) + 1))

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return read_picture(sample.image)

    def truth(self, sample: Sample) -> NDArray[Any]:
        """Depth in metres (H, W) float32, classes (H, W) uint8, or a mask (H, W) uint8 of 0 and 1."""
        if sample.truth is None:
            segmentation = self._annotations[sample.annotation]["segmentation"]
            height, width = self.image(sample).shape[:2]
            mask: NDArray[Any] = decode_parts(segmentation, height, width).max(axis=2)
            return mask
        values = read_class_map(sample.truth)
        return values.astype(np.float32) / 1000 if self.task == "depth" else values.astype(np.uint8)

    def _images(self) -> list[Path]:
        folder = self.folder / "images"
        if not folder.is_dir():
            raise InvalidInput("folder", f"there is no folder {folder}", hint="put the pictures into images/")
        return check_stems(images_in(folder))

    def _expressions(self) -> list[Sample]:
        instances, referring = self._json("instances.json"), self._json("referring.json")
        files = {image["id"]: image["file_name"] for image in instances["images"]}
        self._annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
        return [
            Sample(self.folder / "images" / files[ref["image_id"]], None, ref["sentence"], ref["annotation_id"])
            for ref in referring["refs"]
        ]

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = f"{self.folder / name} can not be read: {error}"
            raise InvalidInput("folder", message, hint="docs/heads.md shows the layout of a folder") from error
        return content


def decode_parts(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, parts) uint8 of 0 and 1: a COCO segmentation's polygons, one part each, or its run lengths, one part."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        runs = coco_mask.frPyObjects(segmentation, height, width)
    elif isinstance(segmentation["counts"], list):
        runs = [coco_mask.frPyObjects(segmentation, height, width)]
    else:
        runs = [{"size": segmentation["size"], "counts": segmentation["counts"].encode()}]
    with warnings.catch_warnings():
        # pycocotools decodes by an array protocol that numpy 2 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        decoded: NDArray[np.uint8] = coco_mask.decode(runs)
    return decoded
