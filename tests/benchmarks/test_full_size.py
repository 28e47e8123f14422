"""The script of `make full-size`: its checkpoints have the published sizes, and its steps work with small ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from backbones.loading.published import SIZES
from benchmarks._full_size import Failed, requests, run_step, tables
from service.tasks import TASKS
from tests.backbones.small_networks import stock_unet
from tests.service.models.small_catalogue import FULL, build_vae, text_config


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_the_networks_have_the_published_sizes(kind: str) -> None:
    config, seed = FULL.backbones[kind]
    with torch.device("meta"):
        networks: dict[str, Any] = {
            "unet": stock_unet(config, seed),
            "vae": build_vae(seed, FULL),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**text_config(config, FULL.text[kind]))),
        }
    counted = {name: sum(value.numel() for value in network.parameters()) for name, network in networks.items()}
    assert counted == SIZES[kind]


def test_every_request_goes_to_the_route_of_its_task() -> None:
    routes = {task.name: task.route for task in TASKS}
    assert {name: route for name, (route, _) in requests(64).items()} == {name: routes[name] for name in requests(64)}


def test_the_tables_have_a_line_for_each_model_and_request() -> None:
    added = [{"model": "sd15", "bytes": 4_260_000_000, "added": 30.2, "add_peak": 700_000_000}]
    loaded = [{"id": "sd15", "load_seconds": 12.34, "loads": 2}]
    requests = [{"task": "depth", "turn": "first", "seconds": 8.0, "peak": 9e9, "resting": 5e9,
              "stages": {"unet": 6.5, "decode": 0.001}}]  # fmt: skip
    lines = tables(added, loaded, requests)
    assert "| `sd15` | 4.26 GB | 30 s | 0.7 GB | 12.3 s | 2 |" in lines
    assert "| depth | first | 8.00 | unet 6.50 | 9.00 GB | 5.00 GB |" in lines


def test_a_step_that_fails_or_takes_too_long_ends_the_run_with_what_it_said() -> None:
    with pytest.raises(Failed, match=r"trying failed:\nno such thing"):
        run_step("trying", [sys.executable, "-c", "raise SystemExit('no such thing')"], 600)
    with pytest.raises(Failed, match="trying took more than 0 seconds"):
        run_step("trying", [sys.executable, "-c", "input()"], 0)


@pytest.mark.slow
def test_all_steps_work_with_small_checkpoints(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks._full_size", "--small", "--folder", str(tmp_path)]
    done = subprocess.run([*command, "--json", str(tmp_path / "figures.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("| zero-shot | second")]
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
