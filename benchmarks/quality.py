"""How good the shipped heads are on held-out data, each beside a baseline: `--task pose`, or all that are shipped."""

from __future__ import annotations

import sys
from collections.abc import Callable

from backbones.errors import ModelNotFound
from benchmarks._quality_pose import measure_pose
from benchmarks._table import arguments, write_figures

TASKS: dict[str, Callable[[], dict[str, float]]] = {"pose": measure_pose}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--task", choices=sorted(TASKS), help="only this one; it must be shipped")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    for task in [chosen.task] if chosen.task else sorted(TASKS):
        try:
            figures |= TASKS[task]()
        except ModelNotFound as error:
            print(f"{task}: {error}", file=sys.stderr)
            if chosen.task:
                return 2
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
