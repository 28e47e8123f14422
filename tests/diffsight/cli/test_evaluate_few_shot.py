"""`diffsight evaluate few-shot` on tiny data in the layouts of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.diffsight.command import invoke
from tests.training.few_shot_layouts import MAKERS


@pytest.mark.parametrize("benchmark", MAKERS)
def test_each_benchmark_is_measured_in_its_layout(benchmark: str, few_shot_folder: Path, tmp_path: Path) -> None:
    MAKERS[benchmark](tmp_path)
    options = ("--benchmark", benchmark, "--shots", 2, "--episodes", 3, "--weights", few_shot_folder / "out", "--json")
    figures = json.loads(invoke("evaluate", "few-shot", tmp_path, *options))
    assert figures["episodes"] == 3
    assert 0 <= figures["mean_iou"] <= 100
