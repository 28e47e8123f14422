"""Heads are fitted to a small drawn world, resumed, measured, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.source import open_backbone
from backbones.stable_diffusion import StableDiffusion
from heads.outputs import encode_rle
from heads.vpd.checkpoint import open_head
from heads.vpd.heads import DepthHead, ReferringHead, SegmentationHead
from heads.vpd.segmentation import predict_segmentation
from training import checkpoints
from training.datasets.dense_folder import DenseFolder
from training.dense import DenseRecipe, fit_dense
from training.evaluate_dense import evaluate_depth, evaluate_referring, evaluate_segmentation, world_samples

NAMES = ["wall", "floor", "box"]
RECIPE = DenseRecipe(epochs=3, batch=8, width=16, held_out=0.25)


@pytest.fixture(scope="module")
def backbone() -> StableDiffusion:
    return open_backbone("pocket")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures: a dark wall, a grey floor that comes nearer below, and a red box."""
    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(5)
    for part in ("images", "depth", "semantic"):
        (folder / part).mkdir()
    annotations, refs, images = [], [], []
    for number in range(24):
        image = np.full((64, 64, 3), 40, dtype=np.uint8)
        classes = np.zeros((64, 64), dtype=np.uint8)
        depth = np.full((64, 64), 5000.0)
        horizon = int(random.integers(20, 40))
        image[horizon:], classes[horizon:] = 130, 1
        depth[horizon:] = np.linspace(5000, 1500, 64 - horizon)[:, None]
        y, x = int(random.integers(4, 40)), int(random.integers(4, 40))
        image[y : y + 20, x : x + 20], classes[y : y + 20, x : x + 20] = (220, 40, 40), 2
        depth[y : y + 20, x : x + 20] = 1200
        name = f"{number:06d}.png"
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(depth.astype(np.uint16)).save(folder / "depth" / name)
        Image.fromarray(classes).save(folder / "semantic" / name)
        images.append({"id": number, "file_name": name, "width": 64, "height": 64})
        rle = encode_rle(classes == 2)
        annotations.append({"id": number + 1, "image_id": number, "category_id": 2, "segmentation": rle.model_dump()})
        refs.append({"id": number + 1, "image_id": number, "annotation_id": number + 1, "sentence": "the red box"})
    instances = {"info": {"semantic_names": NAMES}, "images": images, "annotations": annotations, "categories": []}
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "referring.json").write_text(json.dumps({"refs": refs}))
    return folder


def test_a_depth_head_learns_and_reads_back(backbone: StableDiffusion, world: Path, tmp_path: Path) -> None:
    figures = fit_dense(backbone, "depth", world, tmp_path, DenseRecipe(epochs=8, batch=8, width=16, held_out=0.25))
    assert figures["abs_rel"] < 0.6
    assert figures["mean_baseline_abs_rel"] > 0
    assert figures["linear_baseline_abs_rel"] > 0
    assert {"depth.md", "depth.safetensors", "curves-depth.png"} <= {path.name for path in tmp_path.iterdir()}
    head = open_head(backbone, "depth", tmp_path)
    assert isinstance(head, DepthHead)
    assert head.max_metres == 5.0
    held_out = DenseFolder(world, "depth")
    held_out.samples = held_out.samples[18:]
    again = evaluate_depth(DirectEngine(backbone), head, world_samples(held_out), eigen=False)
    assert again["abs_rel"] == pytest.approx(figures["abs_rel"], abs=0.02)


def test_a_segmentation_head_learns_and_keeps_its_classes(
    backbone: StableDiffusion, world: Path, tmp_path: Path
) -> None:
    recipe = DenseRecipe(epochs=8, batch=8, width=16, held_out=0.25)
    figures = fit_dense(backbone, "segmentation", world, tmp_path, recipe)
    assert figures["miou"] > 0.35
    head = open_head(backbone, "segmentation", tmp_path)
    assert isinstance(head, SegmentationHead)
    assert list(head.classes) == NAMES
    engine = DirectEngine(backbone)
    again = evaluate_segmentation(engine, head, world_samples(DenseFolder(world, "segmentation", most=4)))
    assert again["miou"] > 0.3
    folder = DenseFolder(world, "segmentation")
    result = complete(predict_segmentation(engine, folder.image(folder.samples[0]), head))
    assert result.class_map.shape == (64, 64)


def test_a_stopped_fit_goes_on_and_ends_where_an_unbroken_one_does(
    backbone: StableDiffusion, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_dense(backbone, "referring", world, tmp_path / "whole", RECIPE)
    saved = checkpoints.save_checkpoint
    done: list[int] = []

    def stop_after_two(path: Path, state: dict[str, Any]) -> None:
        saved(path, state)
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_checkpoint", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        fit_dense(backbone, "referring", world, tmp_path / "broken", RECIPE)
    monkeypatch.setattr(checkpoints, "save_checkpoint", saved)
    resumed = fit_dense(backbone, "referring", world, tmp_path / "broken", RECIPE)
    assert resumed == pytest.approx(whole, abs=1e-4)
    head = open_head(backbone, "referring", tmp_path / "broken")
    assert isinstance(head, ReferringHead)
    assert head.tokens == backbone.description.max_tokens
    figures = evaluate_referring(DirectEngine(backbone), head, world_samples(DenseFolder(world, "referring", most=3)))
    assert 0 <= figures["oiou"] <= 1


def test_a_folder_without_the_parts_says_what_is_missing(tmp_path: Path, world: Path) -> None:
    with pytest.raises(InvalidInput, match="images"):
        DenseFolder(tmp_path, "depth")
    with pytest.raises(InvalidInput, match=r"instances\.json"):
        DenseFolder(tmp_path, "referring")
    assert DenseFolder(world, "segmentation").class_names() == tuple(NAMES)
