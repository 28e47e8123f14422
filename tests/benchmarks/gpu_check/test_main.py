"""Steps run by themselves, within their time, and all of them with small networks on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_check.__main__ import LIMITS, is_good, run_step


def test_all_steps_end_within_nine_minutes_in_all() -> None:
    assert sum(LIMITS.values()) <= 530 < 9 * 60


def test_a_step_that_takes_too_long_is_reported() -> None:
    step = run_step("machine", 0.0, device="cpu", dry_run=True)
    assert step["failed"] == "took more than 0 seconds"


@pytest.mark.parametrize(
    ("name", "step", "good"),
    [
        ("machine", {"figures": {"device": "a card"}}, True),
        ("machine", {"failed": "no such device"}, False),
        ("answers", {"figures": {"failed": 1}}, False),
        ("answers", {"figures": {"failed": 0}}, True),
        ("marked_tests", {"figures": {"exit status": 1}}, False),
        ("marked_tests", {"figures": {"exit status": 0, "skipped": 2}}, True),
    ],
)
def test_a_step_is_good_where_it_was_done_and_nothing_was_wrong(name: str, step: dict[str, object], good: bool) -> None:
    assert is_good(name, step) is good


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "steps", [("machine", "throughput"), pytest.param(tuple(LIMITS), marks=pytest.mark.slow, id="all")]
)
def test_the_check_runs_with_small_networks_on_a_cpu(steps: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--dry-run", "--json", str(tmp_path / "check.json")]
    command += [word for step in steps for word in ("--only", step)]
    done = subprocess.run([*command, "--page", str(tmp_path / "check.md")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "check.json").read_text())
    assert tuple(report["steps"]) == steps
    assert report["steps"]["machine"]["figures"]["networks"] == "small"
    page = (tmp_path / "check.md").read_text()
    assert "a trial with small networks" in page
    assert "Not done" not in page
