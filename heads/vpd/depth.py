"""The task `depth`: metres at every pixel of an image of any size, in one pass or by the published protocol."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.rows import Captures
from heads.images import check_image, pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.inputs import InputCounts, Inputs
from heads.outputs import (
    METRES_PER_UNIT,
    DepthStatistics,
    depth_overlay,
    depth_picture,
    depth_png,
    depth_statistics,
    npy_file,
)
from heads.results import DepthMap
from heads.task import NPY, PNG, Form, Limits, Options, Task, is_none
from heads.vpd.features import make_row
from heads.vpd.heads import DepthHead, run_head
from heads.vpd.opening import find_shipped_head, open_task_head
from heads.vpd.preprocess import shorter_side
from heads.vpd.windows import even_starts, flip_maps, merge_windows

DepthProtocol = Literal["fast", "published"]

MEAN_SCENE = "mean"


async def predict_depth(
    engine: Engine,
    image: NDArray[np.uint8],
    head: DepthHead,
    *,
    scene: str | int | None = None,
    protocol: DepthProtocol = "fast",
    windows: int = 2,
    flip: bool = True,
) -> DepthMap:
    """Metres at every pixel of `image`, (H, W, 3) uint8 RGB.

    scene: name or row of the scene class; None takes the mean of all rows, for which there are no published figures.
    protocol: "fast" scales the whole image and runs one row. "published" averages the metres of square windows along
    the longer side (windows: how many at least) and their mirror images (flip).
    Raises InvalidInput for a scene that the head does not know.
    Source: `depth/test.py` of wl-zhao/VPD; its images are 480 x 640, taken as they are.
    """
    check_image(image)
    context, name = choose_context(head, scene)
    if protocol == "published":
        metres = await _predict_windows(engine, image, head, context, windows, flip)
    else:
        size = shorter_side(image.shape, head.size)
        pixels = await engine.run_on_host(_scale, image, size)
        (metres,) = await depth_of_pixels(engine, [pixels], head, context)
    restored = await engine.run(_restore, metres, (image.shape[0], image.shape[1]))
    return DepthMap(restored, head.max_metres, name, scene is not None)


def choose_context(head: DepthHead, scene: str | int | None) -> tuple[Tensor, str]:
    """The U-Net's text context, (T, D), and its name. Raises InvalidInput for an unknown scene."""
    if not head.scenes:
        if scene is not None:
            raise InvalidInput("scene", "this depth head has no scene classes", hint="leave `scene` out")
        return head.contexts, ""
    if scene is None:
        return head.contexts.mean(dim=0, keepdim=True), MEAN_SCENE
    text = str(scene).strip().lower().replace(" ", "_").replace("-", "_")
    index = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if text in head.scenes:
        index = head.scenes.index(text)
    if not 0 <= index < len(head.scenes):
        raise InvalidInput("scene", f"{scene!r} is no scene class", hint=f"send one of {', '.join(head.scenes)}")
    return head.contexts[index : index + 1], head.scenes[index]


async def depth_of_pixels(
    engine: Engine, pixel_values: Sequence[Tensor], head: DepthHead, context: Tensor
) -> list[Tensor]:
    """Metres (H, W) float32 of pictures that the encoder takes as they are: (3, H, W) in [-1, 1], one size.

    They are padded right and below with 0, which is grey: the original pads after scaling too.
    """
    padded = await engine.run_on_host(lambda: [pad_to_multiple(pixels, head.layers.stride) for pixels in pixel_values])
    capture = head.layers.capture(maps=head.maps)
    latents = await engine.encode(padded)
    captures = await engine.unet([make_row(latent, context, capture, head.variant) for latent in latents])
    return await engine.apply(_Metres(head, (pixel_values[0].shape[-2], pixel_values[0].shape[-1])), captures)


@dataclass(frozen=True, slots=True)
class _Metres:
    """The network of a depth head for pictures of one size (height, width)."""

    head: DepthHead
    size: tuple[int, int]

    def __call__(self, captures: Sequence[Captures]) -> list[Tensor]:
        """(H, W) float32 of each row."""
        return run_head(self.head, captures, self.size, self.head.max_metres, maps=self.head.maps)


async def _predict_windows(
    engine: Engine, image: NDArray[np.uint8], head: DepthHead, context: Tensor, windows: int, flip: bool
) -> Tensor:
    height, width = image.shape[:2]
    scale = head.size / min(height, width)
    size = (max(head.size, round(height * scale)), max(head.size, round(width * scale)))
    size = (head.size, size[1]) if height <= width else (size[0], head.size)
    pixels = await engine.run_on_host(_scale, image, size)
    side = head.size
    starts = [(y, x) for y in even_starts(size[0], side, 1 if size[0] <= side else windows)
              for x in even_starts(size[1], side, 1 if size[1] <= side else windows)]  # fmt: skip
    crops = [pixels[:, y : y + side, x : x + side] for y, x in starts]
    mirrored = await engine.run_on_host(lambda: [flip_maps(crop) for crop in crops]) if flip else []
    predicted = await depth_of_pixels(engine, [*crops, *mirrored], head, context)

    def merge() -> Tensor:
        plain = predicted[: len(crops)]
        if flip:
            plain = [
                (metres + flip_maps(mirror)) / 2 for metres, mirror in zip(plain, predicted[len(crops) :], strict=True)
            ]
        return merge_windows([metres[None] for metres in plain], starts, size)[0]

    return await engine.run(merge)


def _restore(metres: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Metres (h, w) at the image's size, on the host."""
    whole: NDArray[np.float32] = resize_maps(metres[None], size)[0].float().cpu().numpy()
    return whole


def _scale(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    return to_pixel_values(resize(image, size))


class DepthOptions(Options):
    """Options of metric depth."""

    scene: str | None = Field(
        default=None,
        max_length=100,
        description="Scene class of the published network: a name such as `kitchen`, or its index. Unset: "
        "the mean of all classes. Heads trained by `diffsight fit` have no scene classes.",
    )
    protocol: DepthProtocol = Field(
        default="fast",
        description="`published` averages the predictions for square windows and their mirror images, as "
        "in the paper; `fast` predicts the whole image in one pass.",
    )
    windows: int = Field(
        default=2,
        ge=1,
        le=64,
        description="With `protocol` `published`: minimum number of windows along the longer side.",
    )
    flip: bool = Field(
        default=True,
        description="With `protocol` `published`: also predict the mirror image of each window, and average.",
    )
    maps: bool = Field(
        default=True,
        description="Include the depth map in the JSON answer, which takes some bytes for each pixel. If "
        "false, the answer holds the statistics alone.",
    )


class DepthResult(BaseModel):
    """Depth of one image."""

    statistics: DepthStatistics
    unit: Literal["metre"] = "metre"
    metres_per_unit: float = Field(default=METRES_PER_UNIT, description="Metres for each unit of `png16`.")
    png16: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="The depth map, a 16-bit greyscale PNG in base64. A value times `metres_per_unit` is metres.",
    )
    max_metres: float = Field(description="Largest depth in metres that the network can predict.")
    scene: str = Field(
        description="Scene class that was used: `mean` is the mean of all classes; empty for a head without "
        "scene classes."
    )
    scene_given: bool = Field(description="Whether the request set `scene`.")
    head: str


async def run_depth(
    engine: Engine, head: DepthHead, inputs: Inputs, options: DepthOptions, on_progress: object = None
) -> DepthMap:
    """Metres at every pixel of the image."""
    return await predict_depth(engine, inputs.image, head, **options.model_dump(exclude={"maps"}))


def answer_depth(depth: DepthMap, head: DepthHead, options: DepthOptions) -> DepthResult:
    """The figures of a depth map, and the map as a file."""
    return DepthResult(
        statistics=depth_statistics(depth),
        png16=base64.b64encode(depth_png(depth)).decode() if options.maps else None,
        max_metres=depth.max_metres,
        scene=depth.scene,
        scene_given=depth.scene_given,
        head=head.name,
    )


def complete_depth(options: DepthOptions, head: DepthHead, counts: InputCounts, limits: Limits) -> DepthOptions:
    """The options as they are. Raises InvalidInput for a scene that the head does not know."""
    choose_context(head, options.scene)
    return options


def depth_line(depth: DepthMap) -> str:
    """The range of a depth map, for people."""
    figures = depth_statistics(depth)
    return f"{figures.minimum:.2f} to {figures.maximum:.2f} m, median {figures.median:.2f} m"


def describe_depth(head: DepthHead) -> dict[str, Any]:
    """Properties of the head for clients."""
    return {"head": head.name, "size": head.size, "max_metres": head.max_metres, "scenes": list(head.scenes)}


TASK = Task(
    name="depth",
    summary="Estimate metric depth",
    source="VPD (arXiv:2303.02153)",
    inputs="image",
    options=DepthOptions,
    answer=DepthResult,
    open=partial(open_task_head, "depth"),
    run=run_depth,
    to_answer=answer_depth,
    to_text=depth_line,
    forms={
        "png16": Form(
            PNG,
            f"16-bit greyscale in units of {METRES_PER_UNIT} metres",
            write=lambda depth, inputs, options: depth_png(depth),
            headers=lambda depth: {"X-Depth-Metres-Per-Unit": str(METRES_PER_UNIT), "X-Depth-Scene": depth.scene},
        ),
        "npy": Form(
            NPY,
            "metres as float32",
            write=lambda depth, inputs, options: npy_file(depth.metres),
            file_name="depth.npy",
            headers=lambda depth: {"X-Depth-Metres-Per-Unit": "1", "X-Depth-Scene": depth.scene},
        ),
        "colour": Form(
            PNG,
            "a colour picture in which near is bright",
            write=lambda depth, inputs, options: depth_picture(depth),
            headers=lambda depth: {"X-Depth-Scene": depth.scene},
        ),
        "overlay": Form(
            PNG,
            "the same picture blended over the image",
            write=lambda depth, inputs, options: depth_overlay(inputs.image, depth),
            headers=lambda depth: {"X-Depth-Scene": depth.scene},
        ),
    },
    exports=frozenset({"png", "npy"}),
    complete=complete_depth,
    describe=describe_depth,
    example={"protocol": "fast"},
    curl="-F image=@room.jpg -F format=colour -o depth.png",
    shipped=partial(find_shipped_head, "depth"),
)
