"""Encode dense results: 16-bit PNG, .npy, class-map PNG, COCO RLE, polygons, overlays, colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from pycocotools import mask as coco_mask
from pydantic import BaseModel, Field

from backbones.errors import InvalidInput
from heads.images import distinct_colours
from heads.results import ClassMap, DepthMap, Masks

METRES_PER_UNIT = 0.001
"""Scale of depth in 16-bit PNG: millimetres, as NYUv2 has it, up to 65.535 m; 0 is never written."""

UNITS_TEXT = "depth_per_unit"
"""Text of a PNG file of relative depth that has its scale."""
_METRES_TEXT = "metres_per_unit"

_LABEL_FROM_PIXELS = 160

MaskForm = Literal["rle", "polygons"]

MASK_EXPORTS = frozenset({"coco", "label-studio", "cvat"})
"""Job formats that can hold masks."""


class Rle(BaseModel):
    """A mask in COCO's compressed run-length encoding (RLE), which pycocotools decodes."""

    size: list[int] = Field(description="Height and width in pixels.")
    counts: str


class MaskAnswer(BaseModel):
    """A mask in the pixels of the image that was sent."""

    name: str
    score: float = Field(description="Mean probability inside the mask; 0 for an empty mask.")
    area: int = Field(description="Number of pixels in the mask.")
    share: float = Field(description="Share of the image's pixels that belong to the mask, 0 to 1.")
    bbox: list[int] = Field(
        description="Smallest box around the mask: x, y, width, height in pixels. All 0 for an empty mask."
    )
    rle: Rle | None = None
    polygons: list[list[float]] | None = Field(
        default=None,
        description="Outlines along pixel edges, one for each connected part, as a flat list x, y, x, y, "
        "... Holes are filled.",
    )


class DepthStatistics(BaseModel):
    """Statistics of the depth map over all pixels, in metres."""

    minimum: float
    maximum: float
    mean: float
    median: float
    percentile_5: float
    percentile_95: float


def npy_file(array: NDArray[Any]) -> bytes:
    """A .npy file of an array of any shape and number type."""
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def png_file(image: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """A PNG file, with text entries in its header."""
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    file = BytesIO()
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def depth_statistics(depth: DepthMap) -> DepthStatistics:
    """Minimum, maximum, mean and percentiles of the metres."""
    low, middle, high = np.percentile(depth.metres, (5, 50, 95)).tolist()
    return DepthStatistics(
        minimum=float(depth.metres.min()),
        maximum=float(depth.metres.max()),
        mean=float(depth.metres.mean(dtype=np.float64)),
        median=middle,
        percentile_5=low,
        percentile_95=high,
    )


def depth_png(depth: DepthMap) -> bytes:
    """A 16-bit grey PNG: value times `METRES_PER_UNIT` is metres. The file's text entries hold the scale too."""
    units = np.clip(np.rint(depth.metres / METRES_PER_UNIT), 1, 65535).astype(np.uint16)
    return png_file(Image.fromarray(units), {_METRES_TEXT: str(METRES_PER_UNIT)})


def read_map(file: bytes) -> NDArray[np.float32]:
    """The values of a map in a PNG file, with the precision of the file.

    Of a 16-bit grey one (H, W) float32, metres or relative depth by the scale in its texts; of an RGB one, which has
    normals, unit vectors (H, W, 3) float32.
    """
    with Image.open(BytesIO(file)) as image:
        texts: Mapping[str, str] = image.text  # type: ignore[attr-defined]
        values = np.asarray(image).astype(np.float32)
    if values.ndim == 2:
        return values * np.float32(texts.get(_METRES_TEXT) or texts[UNITS_TEXT])
    vectors = values / 127.5 - 1
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=2, keepdims=True)
    return vectors / lengths


def depth_colours(depth: DepthMap) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: near is bright and warm, far is dark; the range is the picture's own."""
    low, high = np.percentile(depth.metres, (1, 99)).tolist()
    near = 1 - np.clip((depth.metres - low) / max(high - low, 1e-6), 0, 1)
    coloured = cv2.applyColorMap(np.rint(near * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colours: NDArray[np.uint8] = np.ascontiguousarray(coloured[..., ::-1])
    return colours


def depth_picture(depth: DepthMap) -> bytes:
    """The colours of `depth_colours` as a PNG file."""
    return png_file(Image.fromarray(depth_colours(depth)))


def depth_overlay(image: NDArray[np.uint8], depth: DepthMap) -> bytes:
    """The image (H, W, 3) uint8 under half-transparent depth colours, as a PNG file."""
    return png_file(Image.fromarray(_blend(image, depth_colours(depth), 0.65)))


def class_map_png(segmented: ClassMap) -> bytes:
    """Class indices as a PNG file in the palette's colours; past 256 classes as 16-bit grey."""
    if len(segmented.classes) > 256:
        return png_file(Image.fromarray(segmented.class_map))
    image = Image.fromarray(segmented.class_map.astype(np.uint8)).convert("P")
    image.putpalette(segmented.palette.tobytes())
    return png_file(image)


def class_overlay(image: NDArray[np.uint8], segmented: ClassMap) -> bytes:
    """The image (H, W, 3) uint8 under the classes' colours and names, as a PNG file."""
    picture = Image.fromarray(_blend(image, segmented.palette[segmented.class_map], 0.55))
    for index in sorted(index for index, _ in class_areas(segmented)):
        _write_name(picture, segmented.class_map == index, segmented.classes[index])
    return png_file(picture)


def class_areas(segmented: ClassMap) -> list[tuple[int, int]]:
    """Index and pixels of each class that the image has, largest first."""
    areas = np.zeros(len(segmented.classes), np.int64)
    for row in segmented.class_map:
        areas += np.bincount(row, minlength=len(areas))
    order = np.argsort(-areas, kind="stable")
    return [(int(index), int(areas[index])) for index in order if areas[index]]


def class_masks(segmented: ClassMap) -> Iterator[tuple[NDArray[np.bool_], str, float]]:
    """Mask (H, W), name and mean probability of each class that the image has, largest first, one mask at a time."""
    for index, _ in class_areas(segmented):
        mask = segmented.class_map == index
        yield mask, segmented.classes[index], float(segmented.probabilities.mean(dtype=np.float64, where=mask))


def class_answers(segmented: ClassMap, *, form: MaskForm = "rle") -> Iterator[MaskAnswer]:
    """The classes that the image has, largest first, as answers: only one mask at a time is in memory."""
    return (mask_answer(mask, name, score, form=form) for mask, name, score in class_masks(segmented))


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) bool as an 8-bit grey PNG file, 255 inside."""
    return png_file(Image.fromarray(mask.astype(np.uint8) * 255))


def number_map_png(numbers: NDArray[np.int32]) -> bytes:
    """Numbers (H, W) as a PNG file in distinct colours, 0 black; past 255 as 16-bit grey."""
    if numbers.max() > 255:
        return png_file(Image.fromarray(numbers.astype(np.uint16)))
    image = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    image.putpalette(np.concatenate([np.zeros((1, 3), np.uint8), distinct_colours(255)]).tobytes())
    return png_file(image)


def masks_overlay(image: NDArray[np.uint8], masks: Masks, colours: NDArray[np.uint8] | None = None) -> bytes:
    """The image (H, W, 3) uint8 with each mask filled, outlined and named, as a PNG file.

    colours: (N, 3) uint8, one a mask; `distinct_colours` if none are given.
    """
    colours = distinct_colours(len(masks.names)) if colours is None else colours
    painted = image.copy()
    for mask, colour in zip(masks.masks, colours, strict=True):
        painted[mask] = _blend(painted[mask], np.broadcast_to(colour, (int(mask.sum()), 3)), 0.5)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(bool)
        if min(mask.shape) >= _LABEL_FROM_PIXELS:
            painted[mask & ~inside] = colour
    picture = Image.fromarray(painted)
    for mask, name in zip(masks.masks, masks.names, strict=True):
        _write_name(picture, mask, name)
    return png_file(picture)


def mask_answers(masks: Masks, *, form: MaskForm = "rle") -> list[MaskAnswer]:
    """Each mask with its name, score, area and box, and its shape as "rle" or "polygons"."""
    return [
        mask_answer(mask, name, score, form=form)
        for mask, name, score in zip(masks.masks, masks.names, masks.scores, strict=True)
    ]


def mask_answer(mask: NDArray[np.bool_], name: str, score: float, *, form: MaskForm = "rle") -> MaskAnswer:
    """One mask (H, W) bool as an answer, its shape as "rle" or "polygons"."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0, 0, 0, 0]
    if len(rows):
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    area = int(mask.sum())
    return MaskAnswer(
        name=name,
        score=score,
        area=area,
        share=area / mask.size,
        bbox=box,
        rle=encode_rle(mask) if form == "rle" else None,
        polygons=polygons(mask) if form == "polygons" else None,
    )


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """COCO's compressed run-length encoding of a mask (H, W) bool."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Rle(size=list(encoded["size"]), counts=encoded["counts"].decode("ascii"))


def decode_rle(rle: Rle, *, field: str = "mask") -> NDArray[np.bool_]:
    """The mask, (H, W) bool. Raises InvalidInput, about `field`, if the runs do not fill the stated size."""
    if len(rle.size) != 2 or min(rle.size) < 1:
        raise InvalidInput(field, f"an RLE of size {rle.size}", hint="size is [height, width]")
    height, width = rle.size
    runs = _runs(rle.counts)
    if runs is None or sum(runs) != height * width:
        problem = "are none" if runs is None else f"cover {sum(runs)} pixels"
        raise InvalidInput(
            field,
            f"an RLE whose counts {problem} where {height} x {width} belong",
            hint="send size and counts as pycocotools writes them",
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _runs(counts: str) -> list[int] | None:
    """Run lengths of compressed counts, None if they are damaged: pycocotools would read past its memory then.

    Source: `rleFrString` of COCO's maskApi.c: five bits a character, lowest first, sign by bit 4 of the last; from the
    third on each run is the difference to the one before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts.encode("utf-8", "replace"):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            if len(runs) > 2:
                value += runs[-2]
            if value < 0:
                return None
            runs.append(value)
            value = shift = 0
    return runs if shift == 0 else None


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Outlines of the parts of a mask (H, W) bool along the edges of its pixels, as COCO writes them: x, y in turn.

    Parts that only touch at corners are one. Holes are filled: COCO's polygons cannot describe them.
    """
    # OpenCV traces centres of pixels. On a doubled picture each pixel has four, one towards each of its corners.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = []
    for contour in contours:
        corners = (contour[:, 0].astype(np.int64) + 1) // 2
        # Repeated corners and inner points of straight lines are removed.
        corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
        before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
        turns = (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]) | ((before * after).sum(axis=1) < 0)
        outlines.append(corners[turns].astype(float).ravel().tolist())
    return outlines


def _blend(under: NDArray[np.uint8], over: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    mixed = np.empty_like(under)
    # A row at a time: the intermediate values of a large picture take sixteen times its memory.
    for place, (below, above) in enumerate(zip(under, over, strict=True)):
        mixed[place] = np.rint(below * (1.0 - share) + above * share)
    return mixed


def _write_name(picture: Image.Image, mask: NDArray[np.bool_], name: str) -> None:
    """The name where the mask is widest, in pictures and masks that are large enough to hold it."""
    if min(picture.size) < _LABEL_FROM_PIXELS or not name:
        return
    distances = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distances.argmax()), mask.shape)
    if distances[y, x] < 8:
        return
    size = int(np.clip(min(picture.size) / 28, 11, 32))
    ImageDraw.Draw(picture).text(
        (int(x), int(y)),
        name if len(name) <= 40 else f"{name[:39]}…",
        fill="white",
        font=ImageFont.load_default(size=size),
        anchor="mm",
        stroke_width=2,
        stroke_fill="black",
    )
