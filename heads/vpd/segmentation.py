"""The task `segmentation`: the class of every pixel, by one pass, sliding windows, or several scales of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor

from backbones.engine import Engine
from backbones.rows import Captures
from heads.images import check_image, pad_to_multiple, resize, resize_maps, resize_sharp, to_pixel_values
from heads.inputs import Inputs
from heads.outputs import (
    MASK_EXPORTS,
    MaskAnswer,
    MaskForm,
    class_answers,
    class_areas,
    class_map_png,
    class_overlay,
    npy_file,
)
from heads.results import ClassMap
from heads.task import JSON, NPY, PNG, Form, Options, Task
from heads.vpd.class_maps import MOST_VALUES, likeliest_classes, resize_rows, small_indices, strips
from heads.vpd.features import make_row
from heads.vpd.heads import SegmentationHead, run_head
from heads.vpd.opening import find_shipped_head, open_task_head
from heads.vpd.preprocess import ade_size, shorter_side
from heads.vpd.windows import flip_maps, grid_starts, merge_windows

SegmentationProtocol = Literal["fast", "slide", "multiscale"]

RATIOS = (1.0, 1.125, 1.25, 1.375, 1.5)
CELL = 8


async def predict_segmentation(
    engine: Engine, image: NDArray[np.uint8], head: SegmentationHead, *, protocol: SegmentationProtocol = "fast"
) -> ClassMap:
    """The class of every pixel of `image`, (H, W, 3) uint8 RGB.

    protocol: "fast" scales the whole image and runs one row. "slide" is the published single-scale protocol: windows of
    `head.size` with a stride of two thirds. "multiscale" is the published one of five scales and their mirror images:
    the mean of ten maps of probabilities.
    """
    check_image(image)
    original = (image.shape[0], image.shape[1])
    if protocol == "fast":
        size = shorter_side(image.shape, head.size)
        pixels = await engine.run_on_host(lambda: to_pixel_values(resize(image, size)))
        return await likeliest_classes(engine, await logits_of_pixels(engine, [pixels], head), head, original)
    ratios, mirror = (RATIOS, True) if protocol == "multiscale" else ((1.0,), False)
    scales = [
        (ade_size(image.shape, head.size, ratio), turned) for ratio in ratios for turned in (False, True)[: 1 + mirror]
    ]
    maps: list[Tensor] = []
    total: Tensor | None = None
    # Probabilities are summed at the image's size, unless it has more pixels than all scales together.
    adds_up = original[0] * original[1] <= sum(height * width for (height, width), _ in scales)
    for size, turned in scales:
        pixels = await engine.run_on_host(_scale, image, size, turned)
        maps.append(await slide_logits(engine, pixels, head))
        if adds_up:
            total = await engine.run(add_probabilities, total, maps.pop(), turned, original)
    if total is not None:
        return await engine.run(class_map, total, head, len(scales))
    return await likeliest_classes(engine, maps, head, original, mirrored=[turned for _, turned in scales])


def class_map(total: Tensor, head: SegmentationHead, count: int) -> ClassMap:
    """The likeliest class of `count` maps of probabilities, of which `total` (K, H, W), overwritten, is the sum."""
    best, chosen = total.div_(count).max(dim=0)
    return ClassMap(small_indices(chosen), head.classes, head.palette, best.float().cpu().numpy())


def _scale(image: NDArray[np.uint8], size: tuple[int, int], mirrored: bool) -> Tensor:
    pixels = to_pixel_values(resize_sharp(image, size))
    return flip_maps(pixels) if mirrored else pixels


def add_probabilities(
    total: Tensor | None, logits: Tensor, mirrored: bool, size: tuple[int, int], most_values: int = MOST_VALUES
) -> Tensor:
    """Probabilities (K, *size) of logits (K, h, w), and those before, if any; beside the sum, one strip at a time."""
    total = logits.new_zeros(len(logits), *size) if total is None else total
    for top, bottom in strips(len(logits), size, most_values):
        probabilities = resize_rows(logits, size, top, bottom).softmax(dim=0)
        total[:, top:bottom] += flip_maps(probabilities) if mirrored else probabilities
    return total


async def slide_probabilities(
    engine: Engine,
    pixel_values: Tensor,
    head: SegmentationHead,
    output: tuple[int, int],
    *,
    stride: int | None = None,
) -> Tensor:
    """Probabilities (K, *output) of a picture (3, H, W) in [-1, 1]: of `slide_logits`, at another size."""
    logits = await slide_logits(engine, pixel_values, head, stride=stride)
    return await engine.run(lambda: resize_maps(logits, output).softmax(dim=0))


async def slide_logits(
    engine: Engine, pixel_values: Tensor, head: SegmentationHead, *, stride: int | None = None
) -> Tensor:
    """Logits (K, H, W) of a picture (3, H, W) in [-1, 1], by windows whose logits are averaged.

    All windows are rows of one call; mmsegmentation's own loop runs one after the other.
    stride: pixels between windows; two thirds of the window if none is given (341 of 512).
    Source: `slide_inference` of mmsegmentation's EncoderDecoder.
    """
    height, width = pixel_values.shape[-2:]
    crop = head.size
    stride = stride or crop * 2 // 3
    starts = [(y, x) for y in grid_starts(height, crop, stride) for x in grid_starts(width, crop, stride)]
    windows = [pixel_values[:, y : y + crop, x : x + crop] for y, x in starts]
    logits = await logits_of_pixels(engine, windows, head)
    return await engine.run(merge_windows, logits, starts, (height, width))


async def logits_of_pixels(engine: Engine, pixel_values: Sequence[Tensor], head: SegmentationHead) -> list[Tensor]:
    """Logits (K, H, W) float32 of pictures that the encoder takes as they are: (3, H, W) in [-1, 1], one size."""
    height, width = pixel_values[0].shape[-2:]
    padded = await engine.run_on_host(lambda: [pad_to_multiple(pixels, head.layers.stride) for pixels in pixel_values])
    capture = head.layers.capture(maps=True)
    latents = await engine.encode(padded)
    captures = await engine.unet([make_row(latent, head.contexts, capture, head.variant) for latent in latents])
    return await engine.apply(_Logits(head, (height, width)), captures)


@dataclass(frozen=True, slots=True)
class _Logits:
    """The network of a segmentation head for pictures of one size (height, width)."""

    head: SegmentationHead
    size: tuple[int, int]

    def __call__(self, captures: Sequence[Captures]) -> list[Tensor]:
        """(K, H, W) float32 of each row."""
        return [enlarge_class_logits(logits, self.size) for logits in run_head(self.head, captures, maps=True)]


def enlarge_class_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (K, h, w) at an eighth of the padded picture -> (K, *size), bilinear, without the padding."""
    whole = (logits.shape[-2] * CELL, logits.shape[-1] * CELL)
    with torch.no_grad():
        return resize_maps(logits, whole)[..., : size[0], : size[1]]


class SegmentationOptions(Options):
    """Options of semantic segmentation."""

    protocol: SegmentationProtocol = Field(
        default="fast",
        description="`slide` and `multiscale` are the published protocols: `slide` averages overlapping "
        "windows, `multiscale` also five scales with mirror images. `fast` predicts the whole image in one "
        "pass.",
    )


class SegmentationResult(BaseModel):
    """The classes of one image."""

    segments: list[MaskAnswer] = Field(description="Masks of the classes in the image, largest first.")
    classes: list[str] = Field(description="Names of all classes of the head, in the order of their indices.")
    palette: list[list[int]] = Field(description="Colour of each class: red, green and blue, 0 to 255.")
    head: str


async def run_segmentation(
    engine: Engine, head: SegmentationHead, inputs: Inputs, options: SegmentationOptions, on_progress: object = None
) -> ClassMap:
    """The class of every pixel of the image."""
    return await predict_segmentation(engine, inputs.image, head, protocol=options.protocol)


def answer_segmentation(
    classes: ClassMap, head: SegmentationHead, options: SegmentationOptions, *, form: MaskForm = "rle"
) -> SegmentationResult:
    """A mask for each class that the image has, its shape as `form` says."""
    return SegmentationResult(
        segments=list(class_answers(classes, form=form)),
        classes=list(classes.classes),
        palette=classes.palette.tolist(),
        head=head.name,
    )


def segmentation_item(classes: ClassMap, head: SegmentationHead, options: SegmentationOptions) -> dict[str, Any]:
    """A job's masks: the category of each is its class's index plus 1."""
    masks = [
        {"category_id": head.classes.index(mask.name) + 1, **mask.model_dump(mode="json", exclude_none=True)}
        for mask in class_answers(classes)
    ]
    return {"masks": masks, "head": head.name}


def segmentation_line(classes: ClassMap) -> str:
    """The largest classes of an image, for people."""
    areas = class_areas(classes)[:6]
    return ", ".join(f"{classes.classes[index]} {area / classes.class_map.size:.0%}" for index, area in areas)


def describe_segmentation(head: SegmentationHead) -> dict[str, Any]:
    """Properties of the head for clients."""
    return {"head": head.name, "size": head.size, "classes": list(head.classes)}


TASK = Task(
    name="segmentation",
    summary="Segment an image into classes",
    source="VPD (arXiv:2303.02153)",
    inputs="image",
    options=SegmentationOptions,
    answer=SegmentationResult,
    open=partial(open_task_head, "segmentation"),
    run=run_segmentation,
    to_answer=answer_segmentation,
    to_text=segmentation_line,
    to_item=segmentation_item,
    forms={
        "rle": Form(JSON, "masks as COCO RLE, the same as `json`", to_answer=answer_segmentation),
        "polygons": Form(JSON, "masks as polygons", to_answer=partial(answer_segmentation, form="polygons")),
        "png": Form(
            PNG,
            "a palette PNG of class indices",
            write=lambda classes, inputs, options: class_map_png(classes),
        ),
        "npy": Form(
            NPY,
            "class indices as uint16",
            write=lambda classes, inputs, options: npy_file(classes.class_map),
            file_name="classes.npy",
        ),
        "overlay": Form(
            PNG,
            "the image with the classes' colours and names over it",
            write=lambda classes, inputs, options: class_overlay(inputs.image, classes),
        ),
    },
    exports=MASK_EXPORTS,
    describe=describe_segmentation,
    example={"protocol": "fast"},
    curl="-F image=@street.jpg -F format=overlay -o classes.png",
    shipped=partial(find_shipped_head, "segmentation"),
)
