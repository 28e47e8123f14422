"""A rendered world: exact, the same every time, resumable, and readable as COCO."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from training.datasets.world import WorldImages
from training.world.rendering import NO_THING, Renderer
from training.world.scene import SCENES_PER_SHARD, draw_shard
from training.world.vocabulary import CLASSES, HELD_OUT_CLASSES, QUESTION, SEMANTIC_NAMES, semantic_id
from training.world.writer import SMALLEST_AREA, World, write_world

# pycocotools 2.0.11 uses an array protocol that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HELD_OUT = Path(__file__).parents[3] / "training" / "world" / "held_out"
WORLD = World(seed=11, scenes=2 * SCENES_PER_SHARD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(WORLD, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_rendering_goes_on_to_the_same_files_in_other_processes(folder: Path, tmp_path: Path) -> None:
    write_world(World(seed=11, scenes=SCENES_PER_SHARD), tmp_path)
    (tmp_path / "images" / "000008.png").write_bytes(b"cut off by a kill")
    command = [sys.executable, "-m", "training.world", str(tmp_path), "--seed", "11", "--processes", "2"]
    subprocess.run([*command, "--scenes", str(WORLD.scenes)], check=True, capture_output=True)
    assert contents(tmp_path) == contents(folder)


def test_another_world_in_the_same_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"another world.*another folder"):
        write_world(World(seed=12, scenes=8), folder)


def test_pictures_and_labels_agree_pixel_by_pixel(folder: Path) -> None:
    coco = COCO(str(folder / "instances.json"))
    assert len(coco.imgs) == WORLD.scenes
    for number, image in coco.imgs.items():
        semantic = np.asarray(Image.open(folder / "semantic" / image["file_name"]))
        depth = np.asarray(Image.open(folder / "depth" / image["file_name"]))
        assert depth.dtype == np.uint16
        assert semantic.shape == depth.shape == (128, 128)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number)):
            mask = coco.annToMask(annotation).astype(bool)
            assert (semantic[mask] == annotation["category_id"]).all()
            assert mask.sum() == annotation["area"] >= SMALLEST_AREA
            x, y, width, height = annotation["bbox"]
            rows, columns = np.nonzero(mask)
            assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_depth_is_that_of_the_floor_where_the_floor_is(folder: Path) -> None:
    """The floor is the plane z = 0: its depth follows from the camera alone, whatever MuJoCo's buffers hold."""
    shard = draw_shard(WORLD.seed, 0)
    renderer = Renderer(128)
    try:
        for scene, rendering in zip(shard.scenes, renderer.render(shard), strict=True):
            camera = scene.camera
            down = -np.deg2rad(camera.elevation)
            height = camera.look_at[2] + camera.distance * np.sin(down)
            rows = (np.arange(128) + 0.5 - 64) / (64 / np.tan(np.deg2rad(22.5)))
            # A ray of unit depth falls by sin(down) + row * cos(down).
            expected = height / (np.sin(down) + rows * np.cos(down))
            seen = rendering.floor & (rendering.depth < 12)
            assert seen.sum() > 500
            truth = np.broadcast_to(expected[:, None], (128, 128))[seen]
            assert np.abs(rendering.depth[seen] / truth - 1).max() < 1e-3
            assert (rendering.owners[rendering.floor] == NO_THING).all()
    finally:
        renderer.close()


def test_keypoints_that_show_lie_on_their_person(folder: Path) -> None:
    coco = COCO(str(folder / "instances.json"))
    persons = [annotation for annotation in coco.anns.values() if annotation["category_id"] == semantic_id("person")]
    assert persons
    shown = 0
    for person in persons:
        grown = cv2.dilate(coco.annToMask(person), np.ones((5, 5), np.uint8))
        points = np.array(person["keypoints"]).reshape(17, 3)
        assert person["num_keypoints"] == (points[:, 2] > 0).sum()
        for u, v, visibility in points:
            if visibility == 2:
                shown += 1
                assert grown[int(v), int(u)], (person["id"], u, v)
    assert shown > 20


def test_the_data_set_reads_back_what_was_written(folder: Path) -> None:
    world = WorldImages(folder)
    assert len(world) == WORLD.scenes
    assert world.image(0).shape == (128, 128, 3)
    assert world.image(0).dtype == np.uint8
    assert 0.2 < np.median(world.depth(0)) < 20
    assert all(world.captions(index) for index in range(len(world)))
    indices, labels = world.questions()
    for index, label in zip(indices.tolist(), labels.tolist(), strict=True):
        assert world.kinds(index) == [QUESTION[label]]
        assert f"a photo of a {QUESTION[label]}" in world.captions(index)


def test_a_folder_without_a_world_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WorldImages(tmp_path)


def test_the_committed_held_out_scenes_are_whole_and_hold_the_right_kinds() -> None:
    for name, wanted in (("scenes", set(CLASSES) - set(HELD_OUT_CLASSES)), ("few_shot", set(HELD_OUT_CLASSES))):
        world = WorldImages(HELD_OUT / name)
        kinds = {kind for index in range(len(world)) for kind in world.kinds(index)}
        assert kinds == wanted
        for index in range(len(world)):
            assert world.image(index).shape == (128, 128, 3)
            assert world.semantic(index).max() < len(SEMANTIC_NAMES)
            assert world.depth(index).shape == (128, 128)


def test_training_does_not_use_the_held_out_seeds() -> None:
    seeds = {name: json.loads((HELD_OUT / name / "world.json").read_text())["seed"] for name in ("scenes", "few_shot")}
    assert seeds == {"scenes": 2, "few_shot": 3}
