"""Images with masks of classes, and the layouts of the few-shot benchmarks, small enough for a test."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {1: (230, 40, 40), 2: (40, 230, 40), 3: (40, 40, 230)}


def draw_classes(image: Path, mask: Path, classes: tuple[int, ...], seed: int) -> None:
    """Bright squares, one a class, on noise: the image (48, 64) RGB, and its mask of class numbers."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (48, 64, 3), dtype=np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    for place, class_ in enumerate(classes):
        top, left = int(random.integers(0, 24)), 2 + 30 * place
        pixels[top : top + 20, left : left + 22] = COLOURS[(class_ - 1) % 3 + 1]
        labels[top : top + 20, left : left + 22] = class_
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image, quality=95)
    Image.fromarray(labels).save(mask)


def pascal(root: Path) -> None:
    base, lines = root / "VOC2012", []
    for number in range(4):
        name = f"2007_00000{number}"
        draw_classes(base / f"JPEGImages/{name}.jpg", base / f"SegmentationClassAug/{name}.png", (1, 2), number)
        lines += [f"{name}__01", f"{name}__02"]
    (base / "splits/val").mkdir(parents=True)
    (base / "splits/val/fold0.txt").write_text("\n".join(lines) + "\n")


def coco(root: Path) -> None:
    base, names = root / "COCO2014", []
    for number in range(3):
        name = f"val2014/COCO_val2014_00000000000{number}.jpg"
        draw_classes(base / name, base / "annotations" / Path(name).with_suffix(".png"), (1,), number)
        names.append(name)
    (base / "splits/val").mkdir(parents=True)
    (base / "splits/val/fold0.pkl").write_bytes(pickle.dumps({class_id: names for class_id in range(0, 80, 4)}))


def lvis(root: Path) -> None:
    base, images = root / "LVIS", {}
    for number in range(3):
        name = f"val2017/00000000000{number}.jpg"
        draw_classes(base / "coco" / name, root / "unused.png", (1,), number)
        images[name] = {"annotations": [{"segmentation": [[2, 3, 20, 3, 20, 22, 2, 22]]}]}
    (base / "lvis_val.pkl").write_bytes(pickle.dumps({f"class {number}": images for number in range(20)}))


MAKERS = {"pascal": pascal, "coco": coco, "lvis": lvis}
