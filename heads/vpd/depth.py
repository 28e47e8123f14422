"""Metric depth of an image of any size, in one pass or by the published protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.images import check_image, pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.results import DepthMap
from heads.vpd.features import make_row, pyramid
from heads.vpd.heads import DepthHead, in_chunks
from heads.vpd.preprocess import shorter_side
from heads.vpd.windows import even_starts, flipped, merged

Protocol = Literal["fast", "published"]

MEAN_SCENE = "mean"


async def predict_depth(
    engine: Engine,
    image: NDArray[np.uint8],
    head: DepthHead,
    *,
    scene: str | int | None = None,
    protocol: Protocol = "fast",
    windows: int = 2,
    flip: bool = True,
) -> DepthMap:
    """Metres at every pixel of `image`, (H, W, 3) uint8 RGB.

    scene: name or row of the scene class; None takes the mean of all rows, which no published figure stands for.
    protocol: "fast" scales the whole image and asks once. "published" asks for square windows along the longer side
    (windows: how many at least) and their mirror images (flip), and averages metres.
    Raises InvalidInput for a scene that the head does not know.
    Source: `depth/test.py` of wl-zhao/VPD; its images are 480 x 640, taken as they are.
    """
    check_image(image)
    context, name = choose_context(head, scene)
    if protocol == "published":
        metres = await _windowed(engine, image, head, context, windows, flip)
    else:
        size = shorter_side(image.shape, head.size)
        pixels = await engine.run_on_host(_scaled, image, size)
        (metres,) = await depth_of_pixels(engine, [pixels], head, context)
    restored = await engine.run(resize_maps, metres[None], (image.shape[0], image.shape[1]))
    found = restored[0].float().cpu().numpy()
    return DepthMap(found, head.max_metres, name, scene is not None)


def choose_context(head: DepthHead, scene: str | int | None) -> tuple[Tensor, str]:
    """What the U-Net gets as text, (T, D), and the name of it. Raises InvalidInput for an unknown scene."""
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
    padded = [pad_to_multiple(one, head.taps.stride) for one in pixel_values]
    capture = head.taps.capture(maps=head.maps)
    latents = await engine.encode(padded)
    captures = await engine.unet([make_row(one, context, capture, head.variant) for one in latents])
    size = (pixel_values[0].shape[-2], pixel_values[0].shape[-1])

    def decode() -> list[Tensor]:
        pyramids = [pyramid(one, head.taps, maps=head.maps) for one in captures]
        return in_chunks(head.network, pyramids, size, head.max_metres)

    return await engine.run(decode)


async def _windowed(
    engine: Engine, image: NDArray[np.uint8], head: DepthHead, context: Tensor, windows: int, flip: bool
) -> Tensor:
    height, width = image.shape[:2]
    scale = head.size / min(height, width)
    size = (max(head.size, round(height * scale)), max(head.size, round(width * scale)))
    size = (head.size, size[1]) if height <= width else (size[0], head.size)
    pixels = to_pixel_values(await engine.run_on_host(resize, image, size))
    side = head.size
    starts = [(y, x) for y in even_starts(size[0], side, 1 if size[0] <= side else windows)
              for x in even_starts(size[1], side, 1 if size[1] <= side else windows)]  # fmt: skip
    crops = [pixels[:, y : y + side, x : x + side] for y, x in starts]
    mirrored = [flipped(crop) for crop in crops] if flip else []
    found = await depth_of_pixels(engine, [*crops, *mirrored], head, context)
    if flip:
        pairs = zip(found[: len(crops)], found[len(crops) :], strict=True)
        found = [(plain + flipped(mirror)) / 2 for plain, mirror in pairs]
    return await engine.run(lambda: merged([one[None] for one in found], starts, size)[0])


def _scaled(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    return to_pixel_values(resize(image, size))
