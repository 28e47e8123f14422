"""The interface of a data set for training: images with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


class CaptionedImages(Protocol):
    """A finite set of images of one size, each with one or more true captions. Training needs nothing else, so a folder
    of photographs or a rendered world can be used as well as the digits.
    """

    @property
    def name(self) -> str:
        """A word for logs and file names."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        ...

    def image(self, index: int) -> Image:
        """The unchanged image, (H, W, 3) uint8 RGB."""
        ...

    def augment(self, index: int, generator: np.random.Generator) -> Image:
        """A random variation that the same captions still describe, (H, W, 3) uint8 RGB."""
        ...

    def captions(self, index: int) -> Sequence[str]:
        """All sentences that training may use with the image; at least one."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CaptionSource:
    """A data set and its part in training.

    share: of the images of a step in which the decoder learns. views: variations of each image; the first is the
    unchanged image.
    """

    images: CaptionedImages
    share: float
    views: int
