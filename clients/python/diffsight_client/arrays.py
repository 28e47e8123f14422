"""Answers as numpy arrays: depth, masks, class maps, vectors; and masks as detections of `supervision`."""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from diffsight_client.errors import BadInput, MissingPackage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    class RleLike(Protocol):
        """A mask as COCO's compressed run lengths."""

        size: list[int]
        counts: str

    class MaskLike(Protocol):
        """One mask of an answer."""

        name: str
        score: float
        bbox: list[int]

        def to_numpy(self) -> NDArray[np.bool_]: ...


_WHEN_MISSING = {
    "numpy": "pip install 'diffsight-client[arrays]'",
    "PIL": "pip install 'diffsight-client[arrays]'",
    "supervision": "pip install 'diffsight-client[supervision]'",
}


def import_needed(package: str) -> Any:
    """The module of a package that only some answers need. Raises MissingPackage with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"this answer needs {package}: {_WHEN_MISSING[package]}") from error


def array_of_npy(data: bytes) -> NDArray[Any]:
    """The array of a .npy file, of any shape and number type. Raises BadInput for other bytes."""
    numpy = import_needed("numpy")
    try:
        array: NDArray[Any] = numpy.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise BadInput(f"this is not a .npy file: {error}") from error
    return array


def array_of_png(data: bytes) -> NDArray[Any]:
    """The pixels of a PNG file: (H, W) uint8 or uint16 of grey and of indices, (H, W, 3) uint8 of colours."""
    numpy, pillow = import_needed("numpy"), import_needed("PIL")
    importlib.import_module("PIL.Image")
    with pillow.Image.open(io.BytesIO(data)) as image:
        array: NDArray[Any] = numpy.asarray(image)
    # Before version 11.3, pillow opened 16-bit images as 32-bit.
    return array.astype(numpy.uint16) if array.dtype == numpy.int32 else array


def mask_of_rle(rle: RleLike) -> NDArray[np.bool_]:
    """The mask, (H, W) bool, of COCO's compressed run lengths. Raises BadInput for damaged ones.

    Source: `rleFrString` of COCO's maskApi.c: five bits a character, lowest first, bit 5 for more to come, the sign in
    bit 4 of the last; from the third on, each run is the difference to the one before the last.
    """
    numpy = import_needed("numpy")
    height, width = rle.size
    runs: list[int] = []
    value = shift = 0
    for letter in rle.counts.encode():
        bits = letter - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise BadInput(f"these run lengths do not fill {height} x {width} pixels")
    mask: NDArray[np.bool_] = numpy.repeat(numpy.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    return mask


class DepthArray:
    """The depth map of an answer with `maps`, which is the default."""

    if TYPE_CHECKING:
        png16: str | None
        metres_per_unit: float

    def to_numpy(self) -> NDArray[np.float32]:
        """Metres, (H, W) float32, in millimetre steps. Raises BadInput if the answer was requested without maps."""
        numpy = import_needed("numpy")
        if self.png16 is None:
            raise BadInput("the answer has no depth map; request it with maps=True")
        units = array_of_png(base64.b64decode(self.png16))
        metres: NDArray[np.float32] = (units * numpy.float64(self.metres_per_unit)).astype(numpy.float32)
        return metres


class MaskArray:
    """One mask of an answer."""

    if TYPE_CHECKING:
        rle: Any

    def to_numpy(self) -> NDArray[np.bool_]:
        """The mask, (H, W) bool, in the image's pixels. Raises BadInput for an answer that has outlines instead."""
        if self.rle is None:
            raise BadInput("the answer has outlines and no masks; request it without format='polygons'")
        return mask_of_rle(self.rle)


class Masks:
    """An answer with several masks."""

    def _masks(self) -> Sequence[MaskLike]:
        raise NotImplementedError

    def to_numpy(self) -> NDArray[np.bool_]:
        """All masks in the answer's order, (N, H, W) bool; (0, 0, 0) if there are none."""
        numpy = import_needed("numpy")
        masks = [mask.to_numpy() for mask in self._masks()]
        stacked: NDArray[np.bool_] = numpy.stack(masks) if masks else numpy.zeros((0, 0, 0), bool)
        return stacked

    def to_supervision(self) -> Any:
        """The non-empty masks as `supervision.Detections`, their names under `class_name`."""
        numpy, supervision = import_needed("numpy"), import_needed("supervision")
        masks = [mask for mask in self._masks() if mask.bbox[2] and mask.bbox[3]]
        if not masks:
            return supervision.Detections.empty()
        names = [mask.name for mask in masks]
        boxes = numpy.array([mask.bbox for mask in masks], dtype=numpy.float32)
        boxes[:, 2:] += boxes[:, :2]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self._names() or names))}
        return supervision.Detections(
            xyxy=boxes,
            mask=numpy.stack([mask.to_numpy() for mask in masks]),
            confidence=numpy.array([mask.score for mask in masks], dtype=numpy.float32),
            class_id=numpy.array([numbers[name] for name in names]),
            data={"class_name": numpy.array(names)},
        )

    def _names(self) -> Sequence[str]:
        return ()


class SegmentMasks(Masks):
    """The answer of `segmentation`."""

    if TYPE_CHECKING:
        segments: Any
        classes: list[str]

    def _masks(self) -> Sequence[MaskLike]:
        segments: Sequence[MaskLike] = self.segments
        return segments

    def _names(self) -> Sequence[str]:
        return self.classes

    def class_map(self) -> NDArray[np.uint16]:
        """The number of each pixel's class in `classes`, (H, W) uint16. Raises BadInput for an answer with outlines."""
        numpy = import_needed("numpy")
        numbers = {name: number for number, name in enumerate(self.classes)}
        array: NDArray[np.uint16] | None = None
        for segment in self.segments:
            mask = segment.to_numpy()
            array = numpy.zeros(mask.shape, numpy.uint16) if array is None else array
            array[mask] = numbers[segment.name]
        if array is None:
            raise BadInput("the answer has no segments")
        return array


class ExpressionMasks(Masks):
    """The answer of `referring`: one mask for each expression."""

    if TYPE_CHECKING:
        masks: Any

    def _masks(self) -> Sequence[MaskLike]:
        masks: Sequence[MaskLike] = self.masks
        return masks


class ConceptMasks(Masks):
    """The answer of `few-shot`: one mask for each concept."""

    if TYPE_CHECKING:
        concepts: Any

    def _masks(self) -> Sequence[MaskLike]:
        return [concept.mask for concept in self.concepts]


class FeatureVectors:
    """The answer of `features`."""

    if TYPE_CHECKING:
        vectors: list[list[float]]

    def to_numpy(self) -> NDArray[np.float32]:
        """One vector for each image, (N, D) float32."""
        numpy = import_needed("numpy")
        vectors: NDArray[np.float32] = numpy.array(self.vectors, dtype=numpy.float32)
        return vectors
