"""Paths of the files that a command writes for several images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.inputs.names import readable_name
from service.jobs.formats.paths import FreePaths


class OutputFiles:
    """Gives each written file a unique path, which is not the path of an input image either."""

    def __init__(self, images: Sequence[Path]) -> None:
        self._images = {image.resolve() for image in images}
        self._taken: dict[Path, FreePaths] = {}

    def choose(self, folder: Path, image: Path, ending: str) -> Path:
        """A path in a folder for an image's output: its name with another ending, and a number if needed."""
        paths = self._taken.setdefault(folder.resolve(), FreePaths())
        while True:
            file = folder / paths.take(readable_name(image.stem), ending)
            if file.resolve() not in self._images:
                return file
