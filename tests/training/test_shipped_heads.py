"""The heads in the package were fitted to the pocket in the package, and their cards have their figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.loading.source import open_backbone
from backbones.stable_diffusion import StableDiffusion
from benchmarks._quality_few_shot import HELD_OUT as FEW_SHOT_SCENES
from benchmarks._quality_few_shot import paste_mask, score_guess, world_reader
from benchmarks.quality import HELD_OUT
from heads.diffews.checkpoint import POCKET as FEW_SHOT
from heads.diffews.checkpoint import load_few_shot
from heads.diffews.episodes import draw_episodes
from heads.diffews.evaluate import run_episodes, scores_of
from heads.sdpose.checkpoint import open_pose
from heads.sdpose.pose import POCKET as POSE
from heads.vpd.heads import DenseTask
from heads.vpd.opening import POCKET as SHIPPED
from heads.vpd.opening import find_shipped_head, open_task_head
from training.datasets.dense_folder import DenseFolder
from training.dense_baselines import load_baselines
from training.evaluate_dense import world_figures
from training.pose_data import read_pose_data
from training.pose_evaluation import measure_pck, predict_persons

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def backbone() -> StableDiffusion:
    model = open_backbone("pocket")
    assert isinstance(model, StableDiffusion)
    return model


def few_scenes(task: DenseTask) -> DenseFolder:
    folder = DenseFolder(HELD_OUT, task)
    folder.samples = folder.samples[:: len(folder.samples) // 12]
    return folder


@pytest.mark.parametrize(
    ("task", "figure", "better"), [("depth", "abs_rel", -1), ("segmentation", "miou", 1), ("referring", "oiou", 1)]
)
def test_a_shipped_dense_head_beats_its_guesses_by_far(
    backbone: StableDiffusion, task: DenseTask, figure: str, better: int
) -> None:
    file = find_shipped_head(task, backbone)
    assert file is not None, "fitted on another backbone than the one in the package: make pocket-heads"
    head = open_task_head(task, backbone, file)
    baselines = load_baselines(SHIPPED / f"{task}-baselines.safetensors")
    figures = world_figures(DirectEngine(backbone), head, few_scenes(task), baselines)
    guess = figures[f"mean_baseline_{figure}"]
    assert figures[figure] < 0.7 * guess if better < 0 else figures[figure] > 1.4 * guess


def test_the_shipped_pose_network_beats_the_mean_pose(backbone: StableDiffusion) -> None:
    data = read_pose_data(HELD_OUT / "instances.json", HELD_OUT / "images")
    persons = data.persons[:20]
    predictions = predict_persons(DirectEngine(backbone), open_pose(backbone, POSE), data, persons)
    pck = measure_pck(data, {prediction.id: prediction.points for prediction in predictions})["all"]
    figures = json.loads((POSE / "pose.json").read_text(encoding="utf-8"))["told"]["held_out"]
    assert pck > figures["mean_pose_pck_0_1"] + 0.1
    assert pck == pytest.approx(figures["pck_0_1"], abs=0.2)


def test_the_shipped_few_shot_network_beats_a_mask_in_place(backbone: StableDiffusion) -> None:
    load_few_shot(backbone, FEW_SHOT)
    engine = DirectEngine(backbone)
    read, names = world_reader(FEW_SHOT_SCENES)
    episodes = draw_episodes(names, sorted(names), 1, 12, np.random.RandomState(1), in_turn=True)

    async def measure() -> float:
        results = [
            result async for result in run_episodes(engine, episodes, read, size=backbone.description.image_size)
        ]
        return scores_of(results, sorted(names)).mean_iou / 100

    assert complete(measure()) > score_guess(episodes, read, paste_mask, sorted(names))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_cards_have_the_figures_of_the_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.quality", "--json", str(tmp_path / "quality.json")]
    subprocess.run(command, check=True, cwd=ROOT)
    measured = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["figures"]
    for task, figure in (("depth", "abs_rel"), ("segmentation", "miou"), ("referring", "oiou")):
        card = (SHIPPED / f"{task}.md").read_text(encoding="utf-8")
        shown = re.search(rf"^\| {figure} \| (\S+) \|$", card, re.MULTILINE)
        assert shown is not None
        assert measured[f"{task}_{figure}"] == pytest.approx(float(shown[1]), abs=2e-3)
    card = (FEW_SHOT / "README.md").read_text(encoding="utf-8")
    for shots in (1, 5):
        assert f"{measured[f'few_shot_miou_{shots}']:.3f}" in card
