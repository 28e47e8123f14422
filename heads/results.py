"""Results of heads: typed, in the original image's coordinates, on the host. The service encodes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BoxesFrom = Literal["caller", "detector", "whole_image"]


@dataclass(frozen=True, slots=True)
class DroppedLabel:
    """A label that left a race. by: the leader then. units: timesteps it was evaluated on. rows: spent until then."""

    label: str
    by: str
    units: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """A distribution over the caller's labels, in the caller's order.

    labels: as given. probabilities: sum to 1. calibrated: False while the temperature was not fitted to labelled data.
    mean_errors: each label's mean denoising error over the rows it got before it was dropped; comparable only between
    labels that were dropped in the same round. rounds_survived: rounds or looks after which each label was still in the
    race. rows: U-Net rows spent. label: the answer. confidence: 1 minus the probability with which more rows would have
    changed the answer, None if it is unknown. tied: labels that count as equal to the answer. dropped: in the order in
    which they left. stopped: why work ended. temperature: what the logits were divided by. logits: before that, 0 for
    the answer and for no label above it.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    calibrated: bool
    mean_errors: tuple[float, ...]
    rounds_survived: tuple[int, ...]
    rows: int
    label: str
    confidence: float | None = None
    tied: tuple[str, ...] = ()
    dropped: tuple[DroppedLabel, ...] = ()
    stopped: Literal["schedule", "decided", "indifferent", "budget", "complete"] = "schedule"
    temperature: float = 1.0
    logits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TreeLevel:
    """One choice on the way down a tree of labels. under: the labels chosen before. posterior: over the next ones."""

    under: tuple[str, ...]
    posterior: Posterior


@dataclass(frozen=True, slots=True, eq=False)
class LabelPath:
    """A way down a tree of labels.

    path: labels from the root's children down. complete: whether it ends in a leaf; False if the budget was spent.
    levels: the races, in order; a label without siblings is none. rows: U-Net rows of all of them.
    probability: product of the chosen labels' probabilities. confidence: 1 minus the probability with which
    evaluating every label on the way in full would have led elsewhere. stopped: why work ended.
    """

    path: tuple[str, ...]
    complete: bool
    levels: tuple[TreeLevel, ...]
    rows: int
    probability: float
    confidence: float
    stopped: Literal["decided", "budget"]


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """How well captions fit images, higher is better.

    scores: (captions, images) float64, comparable within an image. baselines: (images,), the score of the empty prompt;
    scores less these can be compared between images too. timesteps: visited by each. rows: U-Net rows spent.
    """

    scores: NDArray[np.float64]
    baselines: NDArray[np.float64]
    timesteps: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Pooled features, one vector an image.

    vectors: (N, D) float32. blocks: diffusers module names in the order in which their values follow each other.
    timesteps: in their order; the vectors of all blocks of the first step come before those of the second.
    pool_size: each block's map was averaged to pool_size x pool_size and flattened channel-major.
    """

    vectors: NDArray[np.float32]
    blocks: tuple[str, ...]
    timesteps: tuple[int, ...]
    pool_size: int


@dataclass(frozen=True, slots=True, eq=False)
class SimilarPairs:
    """Pairs of images that are alike, the most alike first.

    first, second: (P,) int64, places of the images, first < second. similarity: (P,) float32, cosine, at most 1.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ConceptMask:
    """The mask of a concept in an image; examples define the concept.

    mask: (H, W) bool, in the original image's pixels. strength: (H, W) float32, 0..1, the network's output.
    presence: 0..1, the largest strength before resizing: small where the concept is likely not in the image.
    cut: 0..1, the mask holds pixels whose strength is above it.
    """

    mask: NDArray[np.bool_]
    strength: NDArray[np.float32]
    presence: float
    cut: float


@dataclass(frozen=True, slots=True, eq=False)
class DepthMap:
    """Distance to the camera plane at every pixel.

    metres: (H, W) float32, positive. max_metres: the largest value that the head can give.
    scene: the scene class that was used, "" for a head without scene classes, and "mean" for the mean of all.
    scene_given: whether the caller named it, not the head.
    """

    metres: NDArray[np.float32]
    max_metres: float
    scene: str = ""
    scene_given: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """One class for every pixel.

    class_map: (H, W) uint16, indices into `classes`. classes: names. palette: (K, 3) uint8 RGB, a colour a class.
    probabilities: (H, W) float32, of the class that was chosen.
    """

    class_map: NDArray[np.uint16]
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Any number of masks over one image; they may overlap, and be empty.

    masks: (N, H, W) bool. names: what each shows. scores: mean probability inside each mask, 0 if it is empty.
    """

    masks: NDArray[np.bool_]
    names: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The points of N persons, in the order of their boxes.

    points: (N, K, 2) float64, x and y in pixels of the image, unclipped. scores: (N, K) float32, maxima of heat maps:
    about 0 to 1, but they may pass 1 or be negative. boxes: (N, 4) float64, x, y, width, height in pixels.
    box_scores: (N,) float64, 1 for boxes without a score. boxes_from: where the boxes come from.
    names: one a point; left and right are the person's own. links: pairs of points that a drawing joins.
    """

    points: NDArray[np.float64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float64]
    box_scores: NDArray[np.float64]
    boxes_from: BoxesFrom
    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
