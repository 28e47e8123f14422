"""Draws answers over their images, from only the JSON answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from diffsight_client.arrays import mask_of_rle
from diffsight_client.models import Rle

# From near (bright) to far (dark) in perceptually equal steps: red, green and blue.
_RAMP = np.array(
    [
        (0, 0, 4),
        (40, 11, 84),
        (101, 21, 110),
        (159, 42, 99),
        (212, 72, 66),
        (245, 125, 21),
        (250, 193, 39),
        (252, 255, 164),
    ]
)
# Distinct in hue and in lightness, for colour-blind readers too (Okabe and Ito's set without black).
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_LEAST_SIDE = 512
"""Small images are enlarged to this size, so that lines and points look thin."""


def read_image(content: bytes) -> Image.Image:
    """An image file as RGB, upright, as the server reads it."""
    with Image.open(io.BytesIO(content)) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            layers = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
        return upright.convert("RGB")


def draw(image: Image.Image, answer: Mapping[str, Any]) -> Image.Image | None:
    """The answer over its image, of the image's size or a multiple; None for an answer that cannot be drawn on the
    image.
    """
    if isinstance(answer.get("png16"), str):
        return depth_picture(read_depth(answer))
    if "persons" in answer:
        return draw_persons(image, answer)
    masks = list(find_masks(answer))
    return draw_masks(image, masks, colours_of(answer, masks)) if masks else None


def read_depth(answer: Mapping[str, Any]) -> NDArray[np.float64]:
    """Metres (H, W) of an answer with a 16-bit map."""
    with Image.open(io.BytesIO(base64.b64decode(answer["png16"]))) as opened:
        return np.asarray(opened, dtype=np.float64) * float(answer.get("metres_per_unit", 0.001))


def depth_picture(metres: NDArray[np.float64]) -> Image.Image:
    """Metres (H, W) as colours: near is bright, far is dark, scaled to the picture's own range."""
    low, high = np.percentile(metres, (1, 99)).tolist()
    near = 1 - np.clip((metres - low) / max(high - low, 1e-6), 0, 1)
    steps = np.linspace(0, 1, len(_RAMP))
    colours = np.stack([np.interp(near, steps, channel) for channel in _RAMP.T], axis=-1)
    return Image.fromarray(np.rint(colours).astype(np.uint8))


def find_masks(value: Any) -> Iterator[Mapping[str, Any]]:
    """All masks in an answer, in its order: objects with a name and an RLE."""
    if isinstance(value, Mapping):
        if isinstance(value.get("rle"), Mapping) and "name" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from find_masks(part)


def colours_of(answer: Mapping[str, Any], masks: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, int]]:
    """A colour for each mask: that of its class if the answer has a palette, else one after another."""
    classes, palette = answer.get("classes"), answer.get("palette")
    if isinstance(classes, list) and isinstance(palette, list) and len(classes) == len(palette):
        by_name = {name: tuple(colour) for name, colour in zip(classes, palette, strict=True)}
        return [by_name.get(mask["name"], PALETTE[0]) for mask in masks]
    return [PALETTE[place % len(PALETTE)] for place in range(len(masks))]


def draw_masks(
    image: Image.Image, masks: Sequence[Mapping[str, Any]], colours: Sequence[tuple[int, int, int]]
) -> Image.Image:
    """The image under the masks of an answer."""
    return paint(image, [decode_rle(mask["rle"]) for mask in masks], colours)


def paint(
    image: Image.Image, masks: Sequence[NDArray[np.bool_]], colours: Sequence[tuple[int, int, int]]
) -> Image.Image:
    """The image under masks (H, W) of its size, half transparent, with outlines."""
    pixels = np.asarray(image, dtype=np.float64).copy()
    for inside, colour in zip(masks, colours, strict=True):
        pixels[inside] = 0.4 * pixels[inside] + 0.6 * np.array(colour)
        pixels[inside & ~_shrink(inside)] = colour
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _shrink(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) without the pixels at its edge."""
    padded = np.pad(inside, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask (H, W) of COCO's compressed run lengths. Raises BadInput for damaged ones."""
    return mask_of_rle(Rle.model_validate(rle))


def draw_persons(image: Image.Image, answer: Mapping[str, Any], threshold: float = 0.2) -> Image.Image:
    """The image with each person's box, and the points and links whose scores reach the threshold."""
    scale = choose_enlargement(image)
    picture = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 250))
    for place, person in enumerate(answer["persons"]):
        colour = PALETTE[place % len(PALETTE)]
        _draw_box(canvas, person["bbox"], scale, colour, line)
        points = [(x * scale, y * scale) for x, y in person["keypoints"]]
        shown = [score >= threshold for score in person["keypoint_scores"]]
        for first, second in answer["links"]:
            if max(first, second) < len(points) and shown[first] and shown[second]:
                canvas.line((*points[first], *points[second]), fill=colour, width=line)
        for (x, y), visible in zip(points, shown, strict=True):
            if visible:
                canvas.ellipse(
                    (x - 1.5 * line, y - 1.5 * line, x + 1.5 * line, y + 1.5 * line),
                    fill="white",
                    outline=colour,
                    width=line // 2 or 1,
                )
    return picture


def choose_enlargement(image: Image.Image) -> int:
    """The factor by which a small image is enlarged."""
    return max(1, round(_LEAST_SIDE / max(image.size)))


def draw_boxes(image: Image.Image, boxes: Sequence[Sequence[float]], corner: Sequence[float] | None) -> Image.Image:
    """The image, enlarged, with boxes (x, y, width, height) in its own pixels, and a cross at a corner of a new one."""
    scale = choose_enlargement(image)
    picture = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 250))
    for place, box in enumerate(boxes):
        _draw_box(canvas, box, scale, PALETTE[place % len(PALETTE)], line)
    if corner is not None:
        x, y, arm = corner[0] * scale, corner[1] * scale, max(picture.size) / 30
        canvas.line((x - arm, y, x + arm, y), fill="red", width=line)
        canvas.line((x, y - arm, x, y + arm), fill="red", width=line)
    return picture


def _draw_box(
    canvas: ImageDraw.ImageDraw, box: Sequence[float], scale: int, colour: tuple[int, int, int], line: int
) -> None:
    x, y, width, height = (scale * number for number in box)
    if width > 0 and height > 0:
        canvas.rectangle((x, y, x + width, y + height), outline=colour, width=line)
