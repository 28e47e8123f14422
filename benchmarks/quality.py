"""The figures of the shipped dense heads on held-out scenes: `python -m benchmarks.quality --task depth --data FOLDER`.

FOLDER is a world as `python -m training.world` renders it, of which no scene was seen in fitting. Heads and backbone
are those of the settings. Baselines stand in each head's card.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backbones.engine import DirectEngine
from benchmarks._table import arguments, print_table, write_figures
from service.dense import open_dense_heads
from service.settings import load_settings
from service.startup import open_model

TASKS = ("depth", "segmentation", "referring")
HELD_OUT = Path(__file__).parents[1] / "training" / "world" / "held_out" / "scenes"


def figures_of(task: str, data: Path) -> dict[str, float]:
    """The published figures of one task's head over a world."""
    from training.datasets.dense_folder import DenseFolder
    from training.evaluate_dense import evaluate_depth, evaluate_referring, evaluate_segmentation, world_samples

    settings = load_settings()
    model = open_model(settings)
    engine = DirectEngine(model)
    if task == "depth":
        head = open_dense_heads(settings, model, ("depth",)).depth_head()
        return evaluate_depth(engine, head, world_samples(DenseFolder(data, "depth")), eigen=False)
    if task == "segmentation":
        classes = open_dense_heads(settings, model, ("segmentation",)).segmentation_head()
        return evaluate_segmentation(engine, classes, world_samples(DenseFolder(data, "segmentation")))
    masks = open_dense_heads(settings, model, ("referring",)).referring_head()
    return evaluate_referring(engine, masks, world_samples(DenseFolder(data, "referring")))


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--task", choices=TASKS, action="append", help="may be repeated; default: all")
    parser.add_argument("--data", type=Path, default=HELD_OUT, metavar="FOLDER")
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        print(f"there is no world in {chosen.data}: python -m training.world FOLDER --seed 99", file=sys.stderr)
        return 2
    found = {
        f"{task}_{name}": value
        for task in chosen.task or TASKS
        for name, value in figures_of(task, chosen.data).items()
    }
    print_table("dense heads on held-out scenes", ["figure", "value"], [[k, f"{v:.4f}"] for k, v in found.items()])
    write_figures(chosen.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
