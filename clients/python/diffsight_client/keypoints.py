"""The answer of `pose` as arrays, as `supervision` key points, and as COCO annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffsight_client.arrays import import_needed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BODY, FEET, FACE, LEFT_HAND, RIGHT_HAND = 17, 6, 68, 21, 21
_WHOLE_BODY = {"keypoints": BODY, "foot_kpts": FEET, "face_kpts": FACE, "lefthand_kpts": LEFT_HAND}
_WHOLE_BODY["righthand_kpts"] = RIGHT_HAND


class Persons:
    """The persons of an answer. Their points are in `coordinates`: pixels unless the request sets another unit."""

    if TYPE_CHECKING:
        persons: Any
        names: list[str]
        links: list[list[int]]

    def to_numpy(self) -> NDArray[np.float32]:
        """x, y and score of each point, (N, K, 3) float32; NaN for a person whose box could not be used."""
        numpy = import_needed("numpy")
        points = numpy.full((len(self.persons), len(self.names), 3), numpy.nan, dtype=numpy.float32)
        for index, person in enumerate(self.persons):
            if person.keypoints:
                points[index, :, :2] = person.keypoints
                points[index, :, 2] = person.keypoint_scores
        filled: NDArray[np.float32] = points
        return filled

    def to_supervision(self) -> Any:
        """The persons with keypoints as `supervision.KeyPoints`.

        Its `EdgeAnnotator` draws them with `edges=answer.supervision_edges()`.
        """
        numpy, supervision = import_needed("numpy"), import_needed("supervision")
        persons = [person for person in self.persons if person.keypoints]
        points = self.to_numpy()[[index for index, person in enumerate(self.persons) if person.keypoints]]
        return supervision.KeyPoints(
            xy=points[:, :, :2],
            keypoint_confidence=points[:, :, 2],
            detection_confidence=numpy.array([person.score for person in persons], dtype=numpy.float32),
            class_id=numpy.zeros(len(persons), dtype=int),
            data={"class_name": numpy.array(["person"] * len(persons))},
        )

    def supervision_edges(self) -> list[tuple[int, int]]:
        """`links` as `supervision` numbers them, from 1."""
        return [(first + 1, second + 1) for first, second in self.links]

    def to_coco(
        self, *, image_id: int = 1, category_id: int = 1, threshold: float = 0.3, first_id: int = 1
    ) -> list[dict[str, Any]]:
        """The persons with keypoints as COCO annotations; 133 points in the five lists of COCO-WholeBody.

        threshold: minimum score of a visible point (2); a point below it is 0, 0, 0. first_id: id of the first
        annotation; the others follow it.
        """
        annotations: list[dict[str, Any]] = []
        for person in self.persons:
            if not person.keypoints:
                continue
            points = [
                [x, y, 2] if score >= threshold else [0.0, 0.0, 0]
                for (x, y), score in zip(person.keypoints, person.keypoint_scores, strict=True)
            ]
            lists = _lists_of(points)
            annotation = {
                "id": first_id + len(annotations),
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": 0,
                "bbox": list(person.bbox),
                "area": person.bbox[2] * person.bbox[3],
                **lists,
                "num_keypoints": sum(value > 0 for value in lists["keypoints"][2::3]),
                "score": person.score,
                "keypoint_scores": list(person.keypoint_scores),
            }
            annotations.append(annotation)
        return annotations

    def coco_category(self, *, category_id: int = 1) -> dict[str, Any]:
        """The category `person` of these annotations, with the names and links of all points."""
        links = [[first + 1, second + 1] for first, second in self.links]
        return {
            "id": category_id,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(self.names),
            "skeleton": links,
        }


def _lists_of(points: list[list[float]]) -> dict[str, list[float]]:
    """x, y and visibility of all points in a row; of 133 points in the five lists of COCO-WholeBody."""
    parts = _WHOLE_BODY if len(points) == sum(_WHOLE_BODY.values()) else {"keypoints": len(points)}
    left = iter(points)
    return {name: [number for _ in range(count) for number in next(left)] for name, count in parts.items()}
