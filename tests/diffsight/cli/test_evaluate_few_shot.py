"""`diffsight evaluate few-shot` on tiny data in the layouts of the benchmarks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from tests.diffsight.cli.few_shot_images import draw_classes
from tests.diffsight.command import invoke


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


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    for number in range(4):
        draw_classes(folder / f"images/{number}.png", folder / f"masks/{number}.png", (1, 2), number)
    options = ("--steps", 3, "--batch", 2, "--part", "attn1", "--learning-rate", 1e-3, "--json")
    told = json.loads(invoke("fit", "few-shot", folder / "images", folder / "masks", "--out", folder / "out", *options))
    assert told["classes"] == [1, 2]
    assert (folder / "out/unet/config.json").is_file()
    return folder


@pytest.mark.parametrize("benchmark", MAKERS)
def test_each_benchmark_is_measured_in_its_layout(benchmark: str, fitted: Path, tmp_path: Path) -> None:
    MAKERS[benchmark](tmp_path)
    options = ("--benchmark", benchmark, "--shots", 2, "--episodes", 3, "--weights", fitted / "out", "--json")
    told = json.loads(invoke("evaluate", "few-shot", tmp_path, *options))
    assert told["episodes"] == 3
    assert 0 <= told["mean_iou"] <= 100
