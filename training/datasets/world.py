"""A rendered world as training data: images, true sentences, and exact labels from the renderer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.datasets.captioned import Image
from training.world.vocabulary import QUESTION


class WorldImages:
    """The scenes of a folder that `python -m training.world` wrote.

    Raises FileNotFoundError if there is no such folder.
    """

    def __init__(self, folder: Path, *, name: str = "world") -> None:
        self.name = name
        self.folder = folder
        instances = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
        self.files: list[str] = [image["file_name"] for image in instances["images"]]
        self.floors: list[str] = [image["floor"] for image in instances["images"]]
        self._kinds = {category["id"]: str(category["name"]) for category in instances["categories"]}
        self.annotations: dict[int, list[dict[str, object]]] = defaultdict(list)
        for annotation in instances["annotations"]:
            self.annotations[annotation["image_id"]].append(annotation)
        self._captions: dict[int, list[str]] = defaultdict(list)
        for caption in json.loads((folder / "captions.json").read_text(encoding="utf-8"))["annotations"]:
            self._captions[caption["image_id"]].append(caption["caption"])

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image:
        """The rendered image, (S, S, 3) uint8 RGB."""
        return np.ascontiguousarray(self._read("images", index, cv2.IMREAD_COLOR)[..., ::-1])

    def augment(self, index: int, generator: np.random.Generator) -> Image:
        """The unchanged image: sentences about left, right, size and colour would not fit a changed image."""
        return self.image(index)

    def captions(self, index: int) -> Sequence[str]:
        """Every sentence that is true of the scene; the first names all things in view."""
        return self._captions[index]

    def depth(self, index: int) -> NDArray[np.float32]:
        """(S, S) float32, metres along the viewing axis, 0 if there is none."""
        millimetres = self._read("depth", index, cv2.IMREAD_UNCHANGED)
        return millimetres.astype(np.float32) / 1000.0

    def semantic(self, index: int) -> NDArray[np.uint8]:
        """(S, S) uint8, indices into training.world.vocabulary.SEMANTIC_NAMES."""
        return self._read("semantic", index, cv2.IMREAD_UNCHANGED).astype(np.uint8)

    def kinds(self, index: int) -> list[str]:
        """The kinds of the visible things of a scene, one entry for each thing."""
        return [self._kinds[int(str(annotation["category_id"]))] for annotation in self.annotations[index]]

    def questions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the scenes with exactly one thing, of a kind in QUESTION, and that kind's index: (N,) each."""
        kinds_by_scene = [(index, self.kinds(index)) for index in range(len(self))]
        questions = [
            (index, QUESTION.index(kinds[0]))
            for index, kinds in kinds_by_scene
            if len(kinds) == 1 and kinds[0] in QUESTION
        ]
        indices, labels = np.array(questions, dtype=np.int64).reshape(-1, 2).T
        return indices, labels

    def _read(self, part: str, index: int, flag: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        path = self.folder / part / self.files[index]
        picture = cv2.imread(str(path), flag)
        if picture is None:
            raise FileNotFoundError(f"{path} can not be read: render the world again")
        return picture  # type: ignore[return-value]
