"""A head fitted on frozen features, over the command line as it is installed: data, fit, evaluation, serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.source import open_backbone
from backbones.loading.weight_files import read_tensors
from heads.sdpose.estimation import empty_context
from tests.diffsight.command import assert_one_line_error, diffsight
from training.pose import PoseRecipe, fit_pose, initialise_pose, mean_pose, mean_pose_points, random_view
from training.pose_data import read_pose_data
from training.pose_evaluation import measure_pck
from training.pose_unet import TunedUNet

NAMES = ("head", "left_hand", "right_hand")
COLOURS = ((250, 250, 250), (250, 40, 40), (40, 40, 250))


def write_data(folder: Path, images: int, seed: int) -> Path:
    """Figures of three blobs, one a point, at places of their own; one crowd, and one figure without points."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 3, "name": "figure", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]]}]
    for index in range(images):
        picture = np.full((80, 100, 3), 90, dtype=np.uint8)
        x, y = generator.integers(10, 40), generator.integers(5, 15)
        points = np.array([[25, 8], [42, 30], [8, 30]]) + generator.integers(-6, 7, (3, 2)) + [x, y]
        for (px, py), colour in zip(points, COLOURS, strict=True):
            cv2.circle(picture, (int(px), int(py)), 6, colour[::-1], -1)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), picture)
        flat = np.concatenate([points, np.full((3, 1), 2)], axis=1).flatten().tolist()
        box = [int(x), int(y), 50, 45]
        content["images"].append({"id": index + 1, "width": 100, "height": 80, "file_name": f"{index}.png"})
        content["annotations"].append(
            {"id": index + 1, "image_id": index + 1, "category_id": 3, "bbox": box, "keypoints": flat, "iscrowd": 0}
        )
    crowd = {**content["annotations"][0], "id": 1000, "iscrowd": 1}
    empty = {**content["annotations"][0], "id": 1001, "keypoints": [0] * 9, "num_keypoints": 0}
    content["annotations"] += [crowd, empty]
    (folder / "figures.json").write_text(json.dumps(content))
    return folder / "figures.json"


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Annotation files of training and held-out figures; their images lie beside in `images`."""
    folder = tmp_path_factory.mktemp("figures")
    return write_data(folder / "train", 24, 1), write_data(folder / "held_out", 8, 2)


def test_a_data_set_brings_its_own_skeleton(figures: tuple[Path, Path]) -> None:
    data = read_pose_data(figures[0], figures[0].parent / "images")
    assert data.skeleton.names == NAMES
    assert data.skeleton.flip_indices == (0, 2, 1)
    assert data.skeleton.links == ((0, 1), (0, 2))
    assert [person.id for person in data.persons] == list(range(1, 25))


def test_points_lie_on_their_blobs_in_every_view(figures: tuple[Path, Path]) -> None:
    data = read_pose_data(figures[0], figures[0].parent / "images")
    generator = np.random.default_rng(0)
    mirrored = set()
    for person in data.persons[:12]:
        view = random_view(data, person, (72, 96), PoseRecipe(), generator)
        inside = [(at, x, y) for at, (x, y) in enumerate(view.points.tolist()) if 3 < x < 68 and 3 < y < 92]
        seen = {at: (view.pixels[:, round(y), round(x)] + 1) * 127.5 for at, x, y in inside}
        # In a mirror the left hand is the right one.
        wrong = [
            max((float((seen[at] - torch.tensor(colours[at])).abs().max()) for at in seen), default=0.0)
            for colours in (COLOURS, COLOURS[:1] + COLOURS[:0:-1])
        ]
        assert min(wrong) < 60
        mirrored.add(wrong[1] < wrong[0])
    assert mirrored == {True, False}


def test_fitting_lowers_the_loss_and_is_seeded(figures: tuple[Path, Path]) -> None:
    engine = DirectEngine(open_backbone("pocket"))
    data = read_pose_data(figures[0], figures[0].parent / "images")
    losses: list[list[float]] = []
    for steps in (30, 5):
        run: list[float] = []

        def report(_: int, loss: float, run: list[float] = run) -> None:
            run.append(loss)

        fit_pose(engine, data, PoseRecipe(steps=steps, batch=8, size=(48, 64)), report)
        losses.append(run)
    # The learning rate follows the number of steps, but the first step is the same.
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)
    assert np.mean(losses[0][-10:]) < 0.8 * np.mean(losses[0][:5])


def test_the_mean_pose_is_measured_in_boxes(figures: tuple[Path, Path]) -> None:
    data = read_pose_data(figures[0], figures[0].parent / "images")
    mean = mean_pose(data)
    assert mean == pytest.approx(np.array([[25, 8], [42, 30], [8, 30]]) / [50, 45], abs=0.08)
    points = dict(zip((person.id for person in data.persons), mean_pose_points(mean, data.persons), strict=True))
    exact = {person.id: data.points[person.id][:, :2] for person in data.persons}
    assert measure_pck(data, exact) == {"all": 1.0, **dict.fromkeys(NAMES, 1.0)}
    assert 0.3 < measure_pck(data, points)["all"] < 1.0


@pytest.mark.slow
def test_fit_evaluate_and_predict(figures: tuple[Path, Path], tmp_path: Path) -> None:
    train, held_out = figures
    options: list[str | Path] = [
        "--images",
        train.parent / "images",
        "--out",
        tmp_path / "mine",
        "--steps",
        "10",
        "--batch",
        "8",
    ]
    measured: list[str | Path] = ["--held-out", held_out, "--held-out-images", held_out.parent / "images"]
    done = diffsight("fit", "pose", train, *options, *measured, "--json")
    assert done.returncode == 0, done.stderr
    fitted = json.loads(done.stdout)
    assert 0 <= fitted["held_out"]["pck_0_1"] <= 1
    assert fitted["held_out"]["persons"] == 8
    of_head: list[str | Path] = ["--checkpoint", tmp_path / "mine", "--no-flip-test"]
    where: list[str | Path] = ["--images", held_out.parent / "images", "--results", tmp_path / "results.json"]
    both: list[str | Path] = ["--dtype", "float32", "--dtype", "bfloat16"]
    done = diffsight("evaluate", "pose", held_out, *where, *of_head, *both, "--json")
    assert done.returncode == 0, done.stderr
    columns = json.loads(done.stdout)
    assert columns["float32"]["PCK 0.1"] == pytest.approx(fitted["held_out"]["pck_0_1"])
    assert columns["float32"]["AP"] == pytest.approx(fitted["held_out"]["ap"])
    assert "px moved, mean" in columns["bfloat16"]
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["image_id"] for row in rows} == set(range(1, 9))
    boxes = [{"image_id": row["image_id"], "category_id": 1, "bbox": [0, 0, 90, 70], "score": 0.5} for row in rows]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    detected: list[str | Path] = ["--detections", tmp_path / "boxes.json", "--most", "2"]
    done = diffsight("evaluate", "pose", held_out, *where[:2], *of_head, *detected)
    assert done.returncode == 0, done.stderr
    assert "2 images, 3 keypoints" in done.stdout
    done = diffsight("predict", "pose", held_out.parent / "images/0.png", "--weights", tmp_path / "mine", "--json")
    assert json.loads(done.stdout)["names"] == list(NAMES)


@pytest.mark.slow
def test_the_unet_is_fine_tuned_and_only_what_changed_is_kept(figures: tuple[Path, Path], tmp_path: Path) -> None:
    train, held_out = figures
    options: list[str | Path] = ["--images", train.parent / "images", "--out", tmp_path / "tuned"]
    options += ["--steps", "4", "--batch", "4", "--width", "48", "--height", "64"]
    options += ["--unet-learning-rate", "1e-3", "--part", "up_blocks.3.resnets"]
    measured: list[str | Path] = ["--held-out", held_out, "--held-out-images", held_out.parent / "images"]
    done = diffsight("fit", "pose", train, *options, *measured, "--json")
    assert done.returncode == 0, done.stderr
    fitted = json.loads(done.stdout)
    kept = read_tensors(tmp_path / "tuned/unet/diffusion_pytorch_model.safetensors")
    # The pose's class code lies in the bias of the time embedding.
    assert {name for name in kept if "up_blocks.3.resnets" not in name} == {"time_embedding.linear_2.bias"}
    assert len(kept) > 10
    where: list[str | Path] = ["--images", held_out.parent / "images", "--checkpoint", tmp_path / "tuned"]
    done = diffsight("evaluate", "pose", held_out, *where, "--no-flip-test", "--json")
    assert done.returncode == 0, done.stderr
    columns = json.loads(done.stdout)
    assert columns["float32"]["PCK 0.1"] == pytest.approx(fitted["held_out"]["pck_0_1"])
    # A later fit on frozen features into the same folder deletes the U-Net.
    done = diffsight("fit", "pose", train, *options[:8], "--half")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "tuned/unet").exists()
    assert read_tensors(tmp_path / "tuned/head.safetensors")["final_layer.bias"].dtype == torch.float16


def test_the_picture_is_restored_beside(figures: tuple[Path, Path]) -> None:
    engine = DirectEngine(open_backbone("pocket"))
    data = read_pose_data(figures[0], figures[0].parent / "images")
    recipe = PoseRecipe(size=(48, 64))
    model = initialise_pose(engine, data, recipe)
    context = complete(empty_context(engine))
    with pytest.raises(InvalidInput, match="no parameter is named by nothing"):
        TunedUNet(engine, model, context, ("nothing",))
    tuned = TunedUNet(engine, model, context, ())
    pixels = [
        random_view(data, person, (48, 64), recipe, np.random.default_rng(0)).pixels for person in data.persons[:4]
    ]
    optimiser = torch.optim.AdamW(tuned.learning, lr=1e-3)
    errors = []
    for _ in range(12):
        features, restored = tuned.look(pixels, np.random.default_rng(0))
        assert features.shape[0] == 4
        optimiser.zero_grad()
        restored.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        errors.append(float(restored.detach()))
    assert errors[-1] < 0.7 * errors[0]


def test_an_invalid_data_set_is_refused(figures: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('{"images": []}')
    with pytest.raises(InvalidInput, match="COCO keypoint file"):
        read_pose_data(tmp_path / "none.json", tmp_path)
    with pytest.raises(InvalidInput, match="is not there"):
        read_pose_data(figures[0], tmp_path)
    out: list[str | Path] = ["--images", tmp_path, "--out", tmp_path / "mine"]
    assert_one_line_error(diffsight("fit", "pose", tmp_path / "none.json", *out), "COCO keypoint file")
