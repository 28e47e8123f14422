"""fit, predict and evaluate few-shot on tiny data: the layouts of the benchmarks, and a fitted U-Net that serves."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from diffsight.cli import app
from training.few_shot_benchmarks import open_fold, read_plain_pickle

COLOURS = {1: (230, 40, 40), 2: (40, 230, 40), 3: (40, 40, 230)}


def draw(image: Path, mask: Path, classes: tuple[int, ...], seed: int) -> None:
    """Bright squares, one a class, on noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (48, 64, 3), dtype=np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    for place, one in enumerate(classes):
        top, left = int(random.integers(0, 24)), 2 + 30 * place
        pixels[top : top + 20, left : left + 22] = COLOURS[(one - 1) % 3 + 1]
        labels[top : top + 20, left : left + 22] = one
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image, quality=95)
    Image.fromarray(labels).save(mask)


def pascal(root: Path) -> None:
    base, lines = root / "VOC2012", []
    for number in range(4):
        name = f"2007_00000{number}"
        draw(base / f"JPEGImages/{name}.jpg", base / f"SegmentationClassAug/{name}.png", (1, 2), number)
        lines += [f"{name}__01", f"{name}__02"]
    (base / "splits/val").mkdir(parents=True)
    (base / "splits/val/fold0.txt").write_text("\n".join(lines) + "\n")


def coco(root: Path) -> None:
    base, names = root / "COCO2014", []
    for number in range(3):
        name = f"val2014/COCO_val2014_00000000000{number}.jpg"
        draw(base / name, base / "annotations" / Path(name).with_suffix(".png"), (1,), number)
        names.append(name)
    (base / "splits/val").mkdir(parents=True)
    (base / "splits/val/fold0.pkl").write_bytes(pickle.dumps({class_id: names for class_id in range(0, 80, 4)}))


def lvis(root: Path) -> None:
    base, images = root / "LVIS", {}
    for number in range(3):
        name = f"val2017/00000000000{number}.jpg"
        draw(base / "coco" / name, root / "unused.png", (1,), number)
        images[name] = {"annotations": [{"segmentation": [[2, 3, 20, 3, 20, 22, 2, 22]]}]}
    (base / "lvis_val.pkl").write_bytes(pickle.dumps({f"class {number}": images for number in range(20)}))


MAKERS = {"pascal": pascal, "coco": coco, "lvis": lvis}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    for number in range(4):
        draw(folder / f"images/{number}.png", folder / f"masks/{number}.png", (1, 2), number)
    options = ("--steps", 3, "--batch", 2, "--part", "attn1", "--learning-rate", 1e-3, "--json")
    told = json.loads(run("fit", "few-shot", folder / "images", folder / "masks", "--out", folder / "out", *options))
    assert told["classes"] == [1, 2]
    assert (folder / "out/unet/config.json").is_file()
    return folder


def test_fitting_again_leaves_other_files_and_refuses_another_networks_folder(fitted: Path, tmp_path: Path) -> None:
    (fitted / "out/README.md").write_text("mine")
    data = (fitted / "images", fitted / "masks")
    run("fit", "few-shot", *data, "--out", fitted / "out", "--steps", 1, "--batch", 1, "--part", "attn1")
    assert sorted(file.name for file in (fitted / "out").iterdir()) == ["README.md", "unet"]
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="another network's unet"):
        run("fit", "few-shot", *data, "--out", tmp_path, "--steps", 1)
    assert (tmp_path / "unet/config.json").read_text() == "{}"


@pytest.mark.parametrize("benchmark", MAKERS)
def test_each_benchmark_is_measured_in_its_layout(benchmark: str, fitted: Path, tmp_path: Path) -> None:
    MAKERS[benchmark](tmp_path)
    options = ("--benchmark", benchmark, "--shots", 2, "--episodes", 3, "--weights", fitted / "out", "--json")
    told = json.loads(run("evaluate", "few-shot", tmp_path, *options))
    assert told["episodes"] == 3
    assert 0 <= told["mean_iou"] <= 100


def test_what_was_fitted_finds_masks(fitted: Path, tmp_path: Path) -> None:
    mask = np.array(Image.open(fitted / "masks/1.png")) == 1
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    supports = ("--support", fitted / "images/1.png", "--mask", tmp_path / "mask.png")
    image = fitted / "images/0.png"
    options = ("--weights", fitted / "out", "--out", tmp_path / "found", "--json")
    told = json.loads(run("predict", "few-shot", image, *supports, *options))
    assert 0 <= told["share"] <= 1
    assert np.array(Image.open(tmp_path / "found/0.mask.png")).shape == (48, 64)
    assert np.array(Image.open(tmp_path / "found/0.overlay.png")).shape == (48, 64, 3)


def test_classes_of_a_fold_are_read_where_they_are(tmp_path: Path) -> None:
    for make in MAKERS.values():
        make(tmp_path)
    image, labels = open_fold("pascal", tmp_path, 0, 1).read("2007_000001", 1)
    assert image.shape == (48, 64, 3)
    assert (labels == 1).sum() == 440
    fold = open_fold("lvis", tmp_path, 1, 1, episodes=4)
    assert fold.class_ids == (0, 1)
    assert fold.read("val2017/000000000001.jpg", 1)[1].sum() == pytest.approx(18 * 19, abs=40)
    with pytest.raises(InvalidInput, match="outside"):
        open_fold("coco", tmp_path, 4, 1)
    with pytest.raises(ModelNotFound, match="missing"):
        open_fold("coco", tmp_path, 3, 1)


def test_a_split_that_holds_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fold0.pkl"
    file.write_bytes(pickle.dumps({0: Path("/")}))
    with pytest.raises(CheckpointError, match="plain values"):
        read_plain_pickle(file)
