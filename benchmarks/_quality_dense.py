"""Depth, segmentation and referring on held-out scenes, beside baselines from the training mean and from pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backbones.engine import DirectEngine
from backbones.errors import ModelNotFound
from benchmarks._table import print_table
from heads.vpd.opening import POCKET as SHIPPED
from service.models.loading import OpenHeads, open_model
from service.settings.loader import load_settings
from service.tasks import TASKS, find_task

if TYPE_CHECKING:
    from heads.vpd.heads import DenseTask, Head

MAIN = {"depth": "abs_rel", "segmentation": "miou", "referring": "oiou"}


def measure_dense(task: DenseTask, data: Path) -> dict[str, float]:
    """Figures of the settings' head over a world in `data`, each as TASK_FIGURE.

    Raises ModelNotFound if no head is shipped for the backbone and the settings name none.
    """
    from training.datasets.dense_folder import DenseFolder
    from training.dense_baselines import load_baselines
    from training.evaluate_dense import world_figures

    settings = load_settings()
    model = open_model(settings)
    chosen = find_task(TASKS, task)
    assert chosen is not None
    head: Head = OpenHeads(settings, model, TASKS).require(chosen)
    file = Path(getattr(settings.heads, task) or SHIPPED / f"{task}.safetensors")
    guesses = file.with_name(f"{task}-baselines.safetensors")
    if not guesses.is_file():
        raise ModelNotFound(f"{guesses} is missing", hint=f"`diffsight fit {task}` writes it beside its head")
    measured = world_figures(DirectEngine(model), head, DenseFolder(data, task), load_baselines(guesses))
    figures = {f"{task}_{name}": value for name, value in measured.items()}
    if task == "depth":
        figures["depth_absrel_over_mean_baseline"] = measured["abs_rel"] / measured["mean_baseline_abs_rel"]
    rows = [["the head", f"{measured[MAIN[task]]:.4f}"]]
    for name in ("mean", "linear"):
        if f"{name}_baseline_{MAIN[task]}" in measured:
            rows.append([f"guessed from the {name} of training", f"{measured[f'{name}_baseline_{MAIN[task]}']:.4f}"])
    rows[-1][0] = rows[-1][0].replace("the linear of training", "colour and place, linearly")
    print_table(f"{task} on {data}", ["what answers", MAIN[task]], rows)
    return figures
