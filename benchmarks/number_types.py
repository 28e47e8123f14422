"""The accuracy that half precision costs each task, by its own metric: `python -m benchmarks.number_types --scenes 40`.

The heads of `pocket` run on scenes in no training data, in float32 and in the other number types, on the device of the
settings. `service/models/number_types.py` uses such figures to decide which number type `dtype=auto` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks._table import arguments, print_table, write_figures

# isort: split
import numpy as np
import torch

from backbones.engine import DirectEngine, complete
from backbones.loading.source import open_backbone
from benchmarks._quality_few_shot import HELD_OUT as KINDS
from benchmarks._quality_few_shot import world_reader
from benchmarks.quality import HELD_OUT
from heads.diffews.episodes import draw_episodes
from heads.diffews.evaluate import run_episodes, scores_of
from heads.diffews.preprocess import input_size
from heads.diffusion_classifier.classify import classify
from heads.sdpose.metrics import Prediction
from heads.vpd.heads import DenseTask
from service.models.loading import OpenHeads, choose_device
from service.settings.loader import load_settings
from service.tasks import TASKS, find_task
from training.datasets.dense_folder import DenseFolder
from training.evaluate_dense import evaluate_depth, evaluate_referring, evaluate_segmentation, world_samples
from training.pose_data import read_pose_data
from training.pose_evaluation import point_errors, predict_persons

Measured = Mapping[str, float]
LABELS = ("a cube", "a ball", "a mannequin", "a chair")


class Measurement:
    """The heads of `pocket` in one number type, each measured over the same scenes."""

    def __init__(self, name: str, scenes: int) -> None:
        settings = load_settings(backbone="pocket", dtype=name)
        device = choose_device(settings.device)
        backbone = open_backbone("pocket", dtype=getattr(torch, name), device=device)
        self.engine = DirectEngine(backbone)
        self.heads = OpenHeads(settings, backbone, TASKS)
        self.scenes = scenes
        self.points: list[Prediction] = []
        self.posteriors: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []

    def head(self, task: str) -> object:
        """The shipped head of a task."""
        opened = find_task(TASKS, task)
        assert opened is not None
        return self.heads.require(opened)

    def dense(self, task: DenseTask, first: Measurement) -> Measured:
        """Depth in percent of the truth, IoUs in points."""
        samples = list(world_samples(DenseFolder(HELD_OUT, task, most=self.scenes)))
        head = self.head(task)
        if task == "depth":
            return {"depth, AbsRel, %": 100 * evaluate_depth(self.engine, head, samples, eigen=False)["abs_rel"]}  # type: ignore[arg-type]
        if task == "segmentation":
            return {"segmentation, mIoU": 100 * evaluate_segmentation(self.engine, head, samples)["miou"]}  # type: ignore[arg-type]
        return {"referring, oIoU": 100 * evaluate_referring(self.engine, head, samples)["oiou"]}  # type: ignore[arg-type]

    def few_shot(self, first: Measurement) -> Measured:
        """mIoU of one-shot episodes, in points."""
        read, names = world_reader(KINDS)
        kinds = sorted(names)
        episodes = draw_episodes(names, kinds, 1, self.scenes, np.random.RandomState(0), in_turn=True)
        size = input_size(self.engine.backbone)

        async def run() -> float:
            return scores_of(
                [result async for result in run_episodes(self.engine, episodes, read, size=size)], kinds
            ).mean_iou

        self.head("few-shot")
        return {"few-shot, mIoU": complete(run())}

    def pose(self, first: Measurement) -> Measured:
        """Mean distance in pixels between points and those of float32, on persons about thirty pixels tall."""
        data = read_pose_data(HELD_OUT / "instances.json", HELD_OUT / "images")
        model = self.head("pose").model  # type: ignore[attr-defined]
        self.points = predict_persons(self.engine, model, data, data.persons[: self.scenes])
        return {"pose, pixels moved": point_errors(self.points, first.points)["mean"]}

    def zero_shot(self, first: Measurement) -> Measured:
        """Largest change of a label's posterior against float32, in points, as a mean over images."""
        images = [
            sample.image for sample in world_samples(DenseFolder(HELD_OUT, "depth", most=max(1, self.scenes // 8)))
        ]
        for image in images:
            posterior = complete(classify(self.engine, image, LABELS))
            self.posteriors.append(np.array(posterior.probabilities))
        moved = [abs(a - b).max() for a, b in zip(self.posteriors, first.posteriors, strict=True)]
        return {"zero-shot, points of the posterior moved": 100 * float(np.mean(moved))}


def measure(names: Sequence[str], scenes: int) -> dict[str, dict[str, float]]:
    """Each task's figure by number type: {figure: {type: value}}."""
    each = [Measurement(name, scenes) for name in names]
    parts: list[Callable[[Measurement], Measured]] = [
        *(lambda own, task=task: own.dense(task, each[0]) for task in ("depth", "segmentation", "referring")),
        lambda own: own.few_shot(each[0]),
        lambda own: own.pose(each[0]),
        lambda own: own.zero_shot(each[0]),
    ]
    figures: dict[str, dict[str, float]] = {}
    for part in parts:
        for name, measurement in zip(names, each, strict=True):
            for figure, value in part(measurement).items():
                figures.setdefault(figure, {})[name] = value
                print(name, figure, value, flush=True)
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--scenes", type=int, default=40, help="scenes, episodes or persons of each task")
    parser.add_argument("--dtype", action="append", help="may be repeated, beside float32; default: bfloat16")
    chosen = parser.parse_args()
    names = ["float32", *(chosen.dtype or ["bfloat16"])]
    figures = measure(names, chosen.scenes)
    rows = [[name, *(f"{values[kind]:.3f}" for kind in names)] for name, values in figures.items()]
    print_table(f"number types, {chosen.scenes} of each", ["figure", *names], rows)
    write_figures(
        chosen.json, {f"{name} ({kind})": value for name, of in figures.items() for kind, value in of.items()}
    )


if __name__ == "__main__":
    main()
