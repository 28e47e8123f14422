"""Keypoints of persons: boxes to crops, crops to U-Net rows, features to heat maps, heat maps to points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.rows import Capture, Captures, UNetRow
from heads.results import BoxesFrom, Keypoints
from heads.sdpose import codec, crops
from heads.sdpose.crops import Crop, CropRegion
from heads.sdpose.head import HeatmapHead
from heads.sdpose.skeletons import Skeleton

Boxes = NDArray[np.float64]

# Persons in memory at a time: at full size each has 30 MB of features, and 120 MB of maps inside the head.
_PERSONS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class PoseModel:
    """A pose network: the rows that it needs, and the head that reads their captures.

    head: on the backbone's device, in its number type. skeleton: the keypoints of its maps, in order.
    size: (width, height) of the crops in pixels. variant: the U-Net that rows go through. timestep: of the rows.
    features: modules whose outputs are read; several are resized to the largest one's size and concatenated.
    latent_scale: what unscaled latents are multiplied by. revision: changes when any answer could.
    """

    name: str
    head: HeatmapHead
    skeleton: Skeleton
    size: tuple[int, int]
    variant: str
    timestep: int
    features: tuple[str, ...]
    latent_scale: float
    revision: str


async def estimate_poses(
    engine: Engine,
    model: PoseModel,
    image: NDArray[np.uint8],
    boxes: Boxes | None = None,
    *,
    box_scores: Sequence[float] | None = None,
    boxes_from: BoxesFrom = "caller",
    crop: Crop = "affine",
    flip_test: bool = False,
) -> Keypoints:
    """The keypoints of each box's person, in the order of the boxes.

    image: (H, W, 3) uint8 RGB. boxes: (N, 4) float, x, y, width, height in image pixels, which may reach outside; None
    takes the whole image as one box. box_scores: (N,), 1 if none are given. boxes_from: for the result. crop: how a box
    becomes the network's input; see `heads.sdpose.crops`. flip_test: also run the mirrored crop and average the maps: a
    little more accurate at twice the cost.
    Returns `Keypoints`, which are empty if there are no boxes.
    Raises InvalidInput for boxes that are not (N, 4), not finite, or without width or height.
    Source: arXiv:2509.24980, sections 3 and 4; SDPose's eval/SDPose_Evaluator.py. The latents are the VAE's mean, where
    the original draws a sample, so that an image always gets the same answer.
    """
    height, width = image.shape[:2]
    if boxes is None:
        boxes, boxes_from = np.array([[0.0, 0.0, width, height]]), "whole_image"
    check_boxes(boxes)
    scores = np.ones(len(boxes)) if box_scores is None else np.asarray(box_scores, dtype=np.float64)
    points = np.zeros((len(boxes), len(model.skeleton), 2))
    point_scores = np.zeros(points.shape[:2], dtype=np.float32)
    context = (await empty_context(engine)) if len(boxes) else None
    for start in range(0, len(boxes), _PERSONS_AT_ONCE):
        chosen = slice(start, start + _PERSONS_AT_ONCE)
        xyxy = crops.corners(boxes[chosen])
        cut, regions = await engine.run_on_host(cut_crops, image, xyxy, model.size, crop)
        pixels = await engine.run_on_host(lambda cut=cut: [crops.pixel_values(picture) for picture in cut])
        mirrored = [crop_pixels.flip(-1) for crop_pixels in pixels] if flip_test else []
        latents = await engine.encode([*pixels, *mirrored])
        rows = await engine.run(pose_rows, model, latents, context)
        captures = await engine.unet(rows)
        # Of the flip test's rows the second half are mirrored.
        persons = (
            list(zip(captures[: len(pixels)], captures[len(pixels) :], strict=True))
            if flip_test
            else [(capture,) for capture in captures]
        )
        decoded = await engine.apply(_Points(model, flip_test), persons)
        points[chosen] = [crops.to_image(own, at, model.size) for (own, _), at in zip(decoded, regions, strict=True)]
        point_scores[chosen] = [own for _, own in decoded]
    return Keypoints(
        points, point_scores, np.asarray(boxes, dtype=np.float64), scores, boxes_from,
        model.skeleton.names, model.skeleton.links,
    )  # fmt: skip


def check_boxes(boxes: Boxes) -> None:
    """Raises InvalidInput unless boxes are (N, 4) x, y, width, height: finite numbers, width and height above 0."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InvalidInput("boxes", f"an array of shape {boxes.shape}", hint="send [x, y, width, height] for each box")
    for index, box in enumerate(boxes):
        if problem := box_problem(box):
            raise InvalidInput("boxes", f"box {index}: {problem}", hint="send x, y, width, height in pixels")


_LEAST_SIDE = 0.001
"""Least side of a box in pixels. With smaller ones the scale from box to crop overflows."""


def box_problem(box: NDArray[np.float64]) -> str:
    """What is wrong with a box (4,) of x, y, width, height; empty if nothing is."""
    x, y, width, height = (float(value) for value in box)
    if not np.isfinite(box).all() or max(abs(float(value)) for value in box) > 1e6:
        return f"{[x, y, width, height]} holds what is no pixel coordinate"
    if width < _LEAST_SIDE or height < _LEAST_SIDE:
        return f"its width and height are {width:g} and {height:g}; both must be above 0, by {_LEAST_SIDE} at least"
    return ""


def outside_problem(box: NDArray[np.float64], size: tuple[int, int]) -> str:
    """What is wrong with a sound box (4,) of an image of (width, height) pixels; empty if it touches the image."""
    x, y, width, height = (float(value) for value in box)
    if x < size[0] and y < size[1] and x + width > 0 and y + height > 0:
        return ""
    return f"{[x, y, width, height]} lies outside the image of {size[0]} x {size[1]} pixels"


async def empty_context(engine: Engine) -> Tensor:
    """The text encoder's states of the empty prompt without padding, (2, D): what SDPose's U-Net attends to.

    The encoder is causal, so the padding behind the two tokens changes nothing about them.
    """
    length = len(engine.tokenize([""])[0])
    return (await engine.embed([""]))[0][:length]


def cut_crops(
    image: NDArray[np.uint8], xyxy: NDArray[np.float32], size: tuple[int, int], crop: Crop
) -> tuple[list[NDArray[np.uint8]], list[CropRegion]]:
    """The crop of each box and the region that it shows.

    image: (H, W, 3) uint8. xyxy: (N, 4) float32 corners. size: (width, height). Returns N crops (height, width, 3).
    """
    cut = crops.affine_crop if crop == "affine" else crops.stretch_crop
    pairs = [cut(image, corners, size) for corners in xyxy]
    return [picture for picture, _ in pairs], [region for _, region in pairs]


def pose_rows(model: PoseModel, latents: Sequence[Tensor], context: Tensor | None) -> list[UNetRow]:
    """One row a crop. latents: (C, h, w) each, unscaled and clean: no noise is added. context: (T, D)."""
    capture = Capture(features=model.features)
    return [
        UNetRow(latent * model.latent_scale, model.timestep, context, capture, variant=model.variant)
        for latent in latents
    ]


def stack_features(model: PoseModel, captures: Sequence[Captures]) -> Tensor:
    """The head's input from the rows: (B, C, h, w), several feature maps at the size of the largest one."""
    maps = [torch.stack([capture.features[name] for capture in captures]) for name in model.features]
    largest = max((tuple(heat_map.shape[-2:]) for heat_map in maps), key=lambda shape: shape[0] * shape[1])
    same = [
        heat_map
        if tuple(heat_map.shape[-2:]) == largest
        else functional.interpolate(heat_map, largest, mode="bilinear", align_corners=False)
        for heat_map in maps
    ]
    return same[0] if len(same) == 1 else torch.cat(same, dim=1)


@torch.no_grad()
def heatmaps(model: PoseModel, captures: Sequence[Captures]) -> Tensor:
    """Heat maps of rows, (B, K, H, W) float32, on the device.

    Row by row, so that the result does not depend on the batch: if two cells are almost equal, rounding would choose
    the point. In one batch they would take as long (7.5 ms against 7.6 for 32 rows, by a cost model of a GPU).
    """
    return torch.cat([model.head(stack_features(model, [capture])).float() for capture in captures])


@dataclass(frozen=True, slots=True)
class _Points:
    """The head of a pose model and the decoding of its maps. flip_test: whether each person has a mirrored row."""

    model: PoseModel
    flip_test: bool

    def __call__(
        self, persons: Sequence[tuple[Captures, ...]]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Points (K, 2) in crop pixels and scores (K,) of each person, from its row or from both of its rows."""
        model = self.model
        maps = heatmaps(model, [rows[0] for rows in persons])
        if self.flip_test:
            of_mirrored = heatmaps(model, [rows[1] for rows in persons])
            maps = codec.merge_flipped(maps, of_mirrored, model.skeleton.flip_indices)
        return list(zip(*codec.decode(maps, model.size), strict=True))
