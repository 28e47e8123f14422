"""Persons with labelled points, from any data set in COCO's keypoint layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from heads.sdpose.persons import Person, read_annotated_persons, read_detected_persons
from heads.sdpose.skeletons import COCO_17, COCO_WHOLEBODY_133, Skeleton, mirror_indices

_WHOLE_LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
_OTHER_SIGMA = 0.079
"""Sigma of points that COCO does not have: its sigma of shoulders."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseData:
    """A data set of persons.

    content: the annotation file's. images: folder of the files it names. skeleton: of its category of persons.
    persons: boxes by image in the file's order. points: annotation id -> (K, 3) float64, x, y in image pixels, and v.
    """

    content: Mapping[str, Any]
    images: Path
    skeleton: Skeleton
    persons: tuple[Person, ...]
    points: Mapping[int, NDArray[np.float64]]

    def file_of(self, image_id: int) -> Path:
        """The path of an image."""
        return self.images / self._names()[image_id]

    def image(self, image_id: int) -> NDArray[np.uint8]:
        """An image, (H, W, 3) uint8 RGB: upright, or as stored if the file's width and height are those of the stored
        image.

        Raises InvalidInput if it cannot be read.
        """
        file = self.file_of(image_id)
        read = cv2.imread(str(file), cv2.IMREAD_COLOR)
        size = self._sizes()[image_id]
        if read is not None and size != read.shape[:2] and size == read.shape[1::-1]:
            # The annotation tool ignored EXIF.
            read = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if read is None:
            raise InvalidInput("--images", f"{file} can not be read", hint="give the folder of the annotated images")
        return np.ascontiguousarray(read[..., ::-1], dtype=np.uint8)

    def _sizes(self) -> dict[int, tuple[int | None, int | None]]:
        """(height, width) of each image as in its annotations."""
        return {int(image["id"]): (image.get("height"), image.get("width")) for image in self.content["images"]}

    def _names(self) -> dict[int, str]:
        return {int(image["id"]): str(image["file_name"]) for image in self.content["images"]}


def read_pose_data(annotations: Path, images: Path) -> PoseData:
    """The persons of a COCO keypoint file, as in the published evaluation: without crowds and without persons that have
    no points.

    Raises InvalidInput if it is not such a file, or if the first image does not exist.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        category = next(category for category in content["categories"] if category.get("keypoints"))
        content["annotations"] = [
            annotation for annotation in content["annotations"] if annotation["category_id"] == category["id"]
        ]
        skeleton = skeleton_of(category, content["annotations"])
        persons = tuple(read_annotated_persons(content))
        points = {
            int(annotation["id"]): points_of(annotation, len(skeleton))
            for annotation in content["annotations"]
            if _is_labelled(annotation)
        }
        data = PoseData(content, images, skeleton, persons, points)
        first = data.file_of(persons[0].image_id) if persons else None
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InvalidInput(
            "annotations",
            f"{annotations} is no COCO keypoint file ({type(error).__name__}: {error})",
            hint="it needs images, annotations with bbox and keypoints, and a category that names its keypoints",
        ) from error
    if first is None:
        raise InvalidInput("annotations", f"{annotations} has no person with labelled points", hint="give another file")
    if not first.is_file():
        raise InvalidInput("--images", f"{first} is not there", hint="give the folder of the annotated images")
    return data


def read_detections(file: Path) -> tuple[Person, ...]:
    """The persons of a COCO detection result file. Raises InvalidInput if it is not such a file."""
    try:
        return tuple(read_detected_persons(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            "--detections",
            f"{file} is no COCO detection file ({type(error).__name__}: {error})",
            hint="it is a list of image_id, category_id, bbox and score",
        ) from error


def points_of(annotation: Mapping[str, Any], count: int) -> NDArray[np.float64]:
    """The (K, 3) points of an annotation, from one list or from COCO-WholeBody's five."""
    lists = _WHOLE_LISTS if count == len(COCO_WHOLEBODY_133) and "foot_kpts" in annotation else _WHOLE_LISTS[:1]
    flat = [value for name in lists for value in annotation[name]]
    return np.array(flat, dtype=np.float64).reshape(count, 3)


def skeleton_of(category: Mapping[str, Any], annotations: list[Mapping[str, Any]]) -> Skeleton:
    """The skeleton of a category: COCO's own for its 17 names or the 133, else one with the category's names.

    Sides are mirrored by their names (left_hand, right_hand); unknown points have the OKS sigma of shoulders.
    """
    names = tuple(str(name) for name in category["keypoints"])
    if annotations and "foot_kpts" in annotations[0]:
        return COCO_WHOLEBODY_133
    if names == COCO_17.names:
        return COCO_17
    sigmas = dict(zip(COCO_WHOLEBODY_133.names, COCO_WHOLEBODY_133.sigmas, strict=True))
    return Skeleton(
        names=names,
        links=tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or ()),
        flip_indices=mirror_indices(names),
        sigmas=tuple(sigmas.get(name, _OTHER_SIGMA) for name in names),
    )


def _is_labelled(annotation: Mapping[str, Any]) -> bool:
    return bool(annotation.get("keypoints"))
