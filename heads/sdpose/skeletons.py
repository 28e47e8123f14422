"""The keypoints of a person: names, left and right, links and OKS sigmas of COCO-17 and COCO-WholeBody-133.

Names, links and mirrored pairs as MMPose has them; sigmas as the COCO and COCO-WholeBody evaluations have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The points of one person, in order.

    names: one a point; left and right are the person's own. links: pairs of points that a drawing joins.
    flip_indices: which point each becomes in a mirrored picture. sigmas: one a point, of the object keypoint
    similarity. upper, lower: points of the upper and lower body, for half-body crops.
    """

    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    flip_indices: tuple[int, ...]
    sigmas: tuple[float, ...]
    upper: tuple[int, ...] = ()
    lower: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def sigma_array(self) -> NDArray[np.float64]:
        """(K,) float64."""
        return np.array(self.sigmas)


def mirror_indices(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each point's counterpart on the other side; its own index for points without one."""
    swapped = str.maketrans({"<": "right", ">": "left"})
    twins = [name.replace("left", "<").replace("right", ">").translate(swapped) for name in names]
    return tuple(names.index(twin) if twin in names else index for index, twin in enumerate(twins))


_BODY = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_BODY_LINKS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
_BODY_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip

COCO_17 = Skeleton(
    _BODY, _BODY_LINKS, mirror_indices(_BODY), _BODY_SIGMAS, upper=tuple(range(11)), lower=tuple(range(11, 17))
)

_FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
_FACE = tuple(f"face-{index}" for index in range(68))
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HANDS = tuple(
    f"{side}_{part}"
    for side in ("left", "right")
    for part in ("hand_root", *(f"{finger}{joint}" for finger in _FINGERS for joint in range(1, 5)))
)
LEFT_HAND, RIGHT_HAND = 91, 112
"""First index of each hand in the 133."""

HAND_LINKS = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)
"""Links within one hand: from its root along each finger."""

_WHOLE_LINKS = (
    *_BODY_LINKS,
    *((15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
    *((start + a, start + b) for start in (LEFT_HAND, RIGHT_HAND) for a, b in HAND_LINKS),
)
# Pairs of face points in the numbering of the 133; points without a pair are on the middle line.
_FACE_PAIRS = (
    *((23 + index, 39 - index) for index in range(8)),
    *((40 + index, 49 - index) for index in range(5)),
    *((54, 58), (55, 57), (59, 68), (60, 67), (61, 66), (62, 65), (63, 70), (64, 69)),
    *((71, 77), (72, 76), (73, 75), (78, 82), (79, 81), (83, 87), (84, 86), (88, 90)),
)
_THOUSANDTHS = (
    (68, 66, 66, 92, 94, 94)
    + (42, 43, 44, 43, 40, 35, 31, 25, 20, 23, 29, 32, 37, 38, 43, 41, 45)
    + (13, 12, 11, 11, 12, 12, 11, 11, 13, 15, 9, 7, 7, 7, 12, 9, 8, 16, 10)
    + (17, 11, 9, 11, 9, 7, 13, 8, 11, 12, 10, 34)
    + (8, 8, 9, 8, 8, 7, 10, 8, 9, 9, 9, 7, 7, 8, 11, 8, 8, 8, 10, 8)
    + 2 * (29, 22, 35, 37, 47, 26, 25, 24, 35, 18, 24, 22, 26, 17, 21, 21, 32, 20, 19, 22, 31)
)


def _whole_body() -> Skeleton:
    names = (*_BODY, *_FEET, *_FACE, *_HANDS)
    flip = list(mirror_indices(names))
    for point, other in _FACE_PAIRS:
        flip[point], flip[other] = other, point
    sigmas = (*_BODY_SIGMAS, *(value / 1000 for value in _THOUSANDTHS))
    return Skeleton(names, _WHOLE_LINKS, tuple(flip), sigmas, upper=tuple(range(11)), lower=tuple(range(11, 23)))


COCO_WHOLEBODY_133 = _whole_body()

WHOLEBODY_PARTS = {"body": (0, 17), "foot": (17, 23), "face": (23, 91), "lefthand": (91, 112), "righthand": (112, 133)}
"""Parts of the 133 as the evaluation and COCO-WholeBody's files name them: first point, one past the last."""
