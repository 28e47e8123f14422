"""The accuracy of the shipped heads on held-out scenes, beside baselines: `python -m benchmarks.quality --task depth`.

Heads and backbone are those of the settings. The scenes are the package's own; --data names another world, rendered by
`python -m training.world`, none of whose scenes were used in training. Each head's card has these figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backbones.errors import DiffsightError
from benchmarks._table import arguments, write_figures

# isort: split
from benchmarks import _quality_dense, _quality_few_shot, _quality_pose

TASKS = ("depth", "segmentation", "referring", "pose", "few-shot")
HELD_OUT = Path(__file__).parents[1] / "training" / "world" / "held_out" / "scenes"


def figures_of(task: str, data: Path | None) -> dict[str, float]:
    """One task's figures by name. data: another world than the package's own held-out scenes."""
    if task == "pose":
        return _quality_pose.measure_pose(data or HELD_OUT)
    if task == "few-shot":
        return _quality_few_shot.measure_few_shot(data or _quality_few_shot.HELD_OUT)
    return _quality_dense.measure_dense(task, data or HELD_OUT)  # type: ignore[arg-type]


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--task", choices=TASKS, action="append", help="may be repeated; default: all")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="another world")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    try:
        for task in chosen.task or TASKS:
            figures |= figures_of(task, chosen.data)
    except (DiffsightError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
