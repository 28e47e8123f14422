"""The inputs of a task: decoded images, and their numbers by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

InputKind = Literal["image", "images", "image_supports", "image_texts"]
"""One image; several; one with support images and their masks; one with texts, which stand among the options."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A decoded image, the input of every head.

    array: (H, W, 3) uint8 RGB, upright. exif_orientation: of the file, 1 to 8; it has been applied.
    more_frames: whether the file holds further frames or pages, which are not read. format: of the file.
    opacity: (H, W) uint8, 0 if the file shows nothing and `array` is white; None if all is opaque.
    """

    array: NDArray[np.uint8]
    exif_orientation: int = 1
    more_frames: bool = False
    format: str = ""
    opacity: NDArray[np.uint8] | None = None

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The image as a painted mask, (H, W, 3) uint8 RGB: black where it shows nothing.

        A mask that is black wherever it is opaque is painted by its opacity alone.
        """
        if self.opacity is None:
            return self.array
        missing = 255 - self.opacity.astype(np.int16)[:, :, None]
        over_black = np.maximum(self.array - missing, 0).astype(np.uint8)
        # Layers are rounded: a level or two does not count as painted.
        return over_black if over_black.max() > 2 else np.repeat(self.opacity[:, :, None], 3, axis=2)

    @property
    def width(self) -> int:
        """In pixels, after the EXIF orientation is applied."""
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        """In pixels, after the EXIF orientation is applied."""
        return int(self.array.shape[0])


class ImageAnswer(BaseModel):
    """Properties of the decoded image."""

    width: int = Field(description="In pixels, after the EXIF orientation is applied.")
    height: int = Field(description="In pixels, after the EXIF orientation is applied.")
    exif_orientation: int = Field(
        description="EXIF orientation of the file, 1 to 8. The image was rotated by it before the task ran."
    )
    more_frames: bool = Field(description="Whether the file holds more frames or pages. Only the first is read.")
    format: str


def describe_image(image: DecodedImage) -> ImageAnswer:
    """An image's part of an answer."""
    return ImageAnswer(
        width=image.width,
        height=image.height,
        exif_orientation=image.exif_orientation,
        more_frames=image.more_frames,
        format=image.format,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The decoded images of one piece of work."""

    images: Sequence[DecodedImage]
    support_images: Sequence[DecodedImage] = ()
    support_masks: Sequence[DecodedImage] = ()

    @property
    def image(self) -> NDArray[np.uint8]:
        """The first image, (H, W, 3) uint8 RGB: the only one of tasks that take one."""
        return self.images[0].array

    @property
    def arrays(self) -> list[NDArray[np.uint8]]:
        """Every image, (H, W, 3) uint8 RGB each."""
        return [image.array for image in self.images]


@dataclass(frozen=True, slots=True)
class InputCounts:
    """How many images of each kind a request holds, known before any is decoded."""

    images: int = 1
    support_images: int = 0
    support_masks: int = 0
