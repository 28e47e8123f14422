"""PASCAL-5i, COCO-20i and LVIS-92i in their usual layouts (those of HSNet and Matcher).

    ROOT/VOC2012/{JPEGImages,SegmentationClassAug,splits/val/foldF.txt}
    ROOT/COCO2014/{val2014,annotations/val2014,splits/val/foldF.pkl}
    ROOT/LVIS/{coco/val2017,lvis_val.pkl}

The split files of COCO and LVIS are pickles; they are read by an unpickler that builds plain values and nothing else.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from heads.diffews.episodes import Episode, draw_episodes, list_episodes
from heads.diffews.evaluate import Labelled

COUNTS = {"pascal": 1000, "coco": 1000, "lvis": 2300}
FOLDS = {"pascal": 4, "coco": 4, "lvis": 10}


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One fold. class_ids: of the scores. episodes: of the protocol. read: returns a name's image and the mask of a
    class.
    """

    class_ids: tuple[int, ...]
    episodes: list[Episode]
    read: Callable[[str, int], Labelled]


def open_fold(benchmark: str, root: Path, fold: int, shots: int, *, episodes: int | None = None) -> Fold:
    """A fold of "pascal", "coco" or "lvis" with its episodes, drawn from seed 0 as published.

    Raises InvalidInput for an unknown benchmark or fold, ModelNotFound if files are missing.
    """
    if benchmark not in FOLDS:
        raise InvalidInput("benchmark", f"{benchmark!r}", hint=f"one of {', '.join(FOLDS)}")
    if not 0 <= fold < FOLDS[benchmark]:
        raise InvalidInput("fold", f"{fold} is outside 0..{FOLDS[benchmark] - 1}", hint="folds count from 0")
    count = COUNTS[benchmark] if episodes is None else episodes
    opened = {"pascal": _pascal, "coco": _coco, "lvis": _lvis}[benchmark]
    try:
        return opened(root, fold, shots, count, np.random.RandomState(0))
    except FileNotFoundError as error:
        raise ModelNotFound(f"{error.filename} is missing", hint="see docs/few-shot.md for the layout") from error


def _pascal(root: Path, fold: int, shots: int, count: int, random: np.random.RandomState) -> Fold:
    base = root / "VOC2012"
    lines = (base / f"splits/val/fold{fold}.txt").read_text(encoding="utf-8").split()
    pairs = [(name, int(number) - 1) for name, number in (line.split("__") for line in lines)]

    def read(name: str, class_id: int) -> Labelled:
        return _picture(base / f"JPEGImages/{name}.jpg"), _labels(base / f"SegmentationClassAug/{name}.png", class_id)

    return Fold(tuple(range(5 * fold, 5 * fold + 5)), list_episodes(pairs, shots, count, random), read)


def _coco(root: Path, fold: int, shots: int, count: int, random: np.random.RandomState) -> Fold:
    base = root / "COCO2014"
    names = read_plain_pickle(base / f"splits/val/fold{fold}.pkl")
    class_ids = tuple(range(fold, 80, 4))

    def read(name: str, class_id: int) -> Labelled:
        annotation = base / "annotations" / Path(name).with_suffix(".png")
        labels = _labels(annotation, class_id)
        return _picture(base / name), (labels == 1).astype(np.uint8)  # COCO has no ignored pixels

    return Fold(class_ids, draw_episodes(names, class_ids, shots, count, random), read)


def _lvis(root: Path, fold: int, shots: int, count: int, random: np.random.RandomState) -> Fold:
    base = root / "LVIS"
    annotations: Mapping[Any, Any] = read_plain_pickle(base / "lvis_val.pkl")
    # The class list depends on the number of shots: a class needs more images than that.
    usable = [annotation for annotation in annotations if len(annotations[annotation]) > shots]
    own = [usable[fold + 10 * place] for place in range(len(usable) // 10)]
    names = {number: list(annotations[original]) for number, original in enumerate(own)}
    class_ids = tuple(range(len(own)))

    def read(name: str, class_id: int) -> Labelled:
        image = _picture(base / "coco" / name)
        mask = np.zeros(image.shape[:2], np.uint8)
        for annotation in annotations[own[class_id]][name]["annotations"]:
            mask |= _draw(annotation["segmentation"], *image.shape[:2])
        return image, mask

    return Fold(class_ids, draw_episodes(names, class_ids, shots, count, random, in_turn=True), read)


def read_plain_pickle(file: Path) -> Any:
    """Dictionaries, lists, texts and numbers of a pickle. Raises CheckpointError if it holds other objects."""
    try:
        with file.open("rb") as opened:
            return _PlainUnpickler(opened).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, AttributeError, ImportError) as error:
        raise CheckpointError(file, f"it holds more than plain values ({error})", hint="use the published file") from (
            error
        )


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def _picture(file: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(file).convert("RGB"), dtype=np.uint8)


def _labels(file: Path, class_id: int) -> NDArray[np.uint8]:
    labels = np.array(Image.open(file))
    return np.where(labels == 255, 255, labels == class_id + 1).astype(np.uint8)


def _draw(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """COCO polygons, or RLE, as a mask (H, W) uint8."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    with warnings.catch_warnings():
        # numpy 2 warns of the way in which pycocotools 2.0.11 converts its arrays.
        warnings.simplefilter("ignore", DeprecationWarning)
        mask: NDArray[np.uint8] = coco_mask.decode(segmentation)
    return mask
