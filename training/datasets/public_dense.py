"""NYUv2, ADE20K and RefCOCO in their official layouts. Reading them never runs code from their files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.errors import InvalidInput
from heads.vpd.heads import NYU_SCENES
from training.datasets.dense_folder import decode_parts

NYU_SIZE = (480, 640)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One evaluation sample.

    image: (H, W, 3) uint8. truth: metres (H, W) float32, classes (H, W) uint8 with 255 ignored, or a mask (H, W) of
    counts. scene: of depth. sentence: of referring.
    """

    image: NDArray[np.uint8]
    truth: NDArray[Any]
    scene: str = ""
    sentence: str = ""


def nyu_samples(folder: Path) -> Iterator[Truth]:
    """The test images: SCENE/rgb_NAME.jpg beside SCENE/sync_depth_NAME.png, uint16 millimetres.

    The scene class is the first class name in `SCENE_rgb_NAME.jpg`, as in the original.
    Source: `depth/dataset/nyudepthv2.py` of wl-zhao/VPD.
    """
    images = sorted(_require_path(folder).glob("**/rgb_*.jpg")) + sorted(folder.glob("**/rgb_*.png"))
    _require_content(images, folder, "SCENE/rgb_*.jpg beside SCENE/sync_depth_*.png")
    for path in images:
        depth = path.with_name(path.name.replace("rgb_", "sync_depth_", 1)).with_suffix(".png")
        name = f"{path.parent.name}_{path.name}"
        scene = next((known_scene for known_scene in NYU_SCENES if known_scene in name), "")
        yield Truth(_rgb(path), _open(depth).astype(np.float32) / 1000, scene=scene)


def ade_samples(folder: Path) -> Iterator[Truth]:
    """The validation images: images/validation/NAME.jpg and annotations/validation/NAME.png, label 0 ignored.

    Source: `ADE20KDataset` of mmsegmentation (`reduce_zero_label`).
    """
    images = sorted(_require_path(folder / "images" / "validation").iterdir())
    _require_content(images, folder, "images/validation/*.jpg and annotations/validation/*.png")
    for path in images:
        labels = _open(folder / "annotations" / "validation" / f"{path.stem}.png").astype(np.int64)
        yield Truth(_rgb(path), np.where(labels == 0, 255, labels - 1).astype(np.uint8))


def refcoco_samples(folder: Path, images: Path, *, split_by: str = "unc", split: str = "val") -> Iterator[Truth]:
    """Every expression of every reference of a split: `refs(SPLIT_BY).p` and instances.json in `folder`.

    images: folder of COCO's train2014. A pixel that two parts of a polygon cover counts 2, which the published figures
    drop. The pickle is read with lists, dictionaries, texts and numbers only.
    """
    refs = read_refs(folder / f"refs({split_by}).p")
    instances = json.loads(_require_path(folder / "instances.json").read_text(encoding="utf-8"))
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    files = {image["id"]: image["file_name"] for image in instances["images"]}
    chosen = [ref for ref in refs if ref["split"] == split]
    _require_content(chosen, folder, f"references of the split {split!r}")
    for ref in chosen:
        image = _rgb(images / files[ref["image_id"]])
        segmentation = annotations[ref["ann_id"]]["segmentation"]
        height, width = image.shape[:2]
        parts = decode_parts(segmentation, height, width)
        for sentence in ref["sentences"]:
            yield Truth(image, parts.sum(axis=2).astype(np.uint8), sentence=sentence["sent"])


class _PlainUnpickler(pickle.Unpickler):
    """Builds only lists, dictionaries, texts and numbers, and refuses every other object."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it wants {module}.{name}")


def read_refs(file: Path) -> list[dict[str, Any]]:
    """The references of a RefCOCO pickle. Raises InvalidInput if it holds anything but plain values."""
    try:
        with _require_path(file).open("rb") as opened:
            content = _PlainUnpickler(opened).load()
    except Exception as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("folder", f"{file} can not be read safely: {error}", hint="download it again") from error
    if not isinstance(content, list):
        raise InvalidInput("folder", f"{file} is no list of references", hint="download it again")
    return content


def _require_path(path: Path) -> Path:
    if not path.exists():
        raise InvalidInput("folder", f"{path} is not there", hint="docs/heads.md shows the official layouts")
    return path


def _require_content(content: Any, folder: Path, what: str) -> None:
    if not content:
        raise InvalidInput("folder", f"{folder} holds no {what}", hint="docs/heads.md shows the official layouts")


def _open(path: Path) -> NDArray[Any]:
    with Image.open(_require_path(path)) as opened:
        return np.array(opened)


def _rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(_require_path(path)) as opened:
        return np.array(opened.convert("RGB"), dtype=np.uint8)
