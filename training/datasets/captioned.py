"""What training needs of a data set: images with words to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


class CaptionedImages(Protocol):
    """A finite set of images of one size, each with one or more true captions.

    Training asks for nothing else, so a folder of photographs or a rendered world fits as well as the digits do.
    """

    @property
    def name(self) -> str:
        """A word for logs and file names."""
        ...

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def image(self, index: int) -> Image:
        """The image as it is, (H, W, 3) uint8 RGB."""
        ...

    def augment(self, index: int, generator: np.random.Generator) -> Image:
        """A variation that the same captions still fit, (H, W, 3) uint8 RGB; the generator decides which."""
        ...

    def captions(self, index: int) -> Sequence[str]:
        """Every sentence that training may show with the image; at least one."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CaptionSource:
    """A data set and its part in training.

    share: of the images of a step in which the decoder learns. views: variations of each image, the first of which is
    the image as it is.
    """

    images: CaptionedImages
    share: float
    views: int
