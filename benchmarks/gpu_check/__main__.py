"""Everything that a GPU has to show, in under nine minutes on one card and without a network: `make gpu-check`.

Each step is a process of its own with a limit, so that one that fails or hangs costs the others nothing. After each the
JSON and the page are written anew. `--dry-run` takes small networks and the CPU: it tries the check, and its figures
mean nothing.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backbones.files import write_file, write_json
from benchmarks.gpu_check.page import TITLES, write_page

LIMITS = {
    "machine": 30,
    "marked_tests": 60,
    "answers": 70,
    "throughput": 210,
    "published_loops": 75,
    "mixture": 75,
}
"""Seconds that each step may take at most. The check as a whole ends after `--seconds`."""
_SHOWN = 1500
"""Characters of a failed step's output in the report."""
_PATIENCE = 20
"""How many times as long a trial may take: it runs on processors that others use too."""


def run_step(name: str, seconds: float, *, device: str, dry_run: bool) -> dict[str, Any]:
    """One step in its own process: its seconds, and its figures or why it failed."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "step.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu_check",
            "--step",
            name,
            "--json",
            str(file),
            "--device",
            device,
            "--seconds",
            str(seconds),
            *(["--dry-run"] if dry_run else []),
        ]
        try:
            ran = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=max(1.0, seconds),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            where = _end_of(error.output)
            failed = f"took more than {seconds:.0f} seconds{': ' if where else ''}{where}"
            return {"seconds": time.perf_counter() - started, "failed": failed}
        taken = {"seconds": time.perf_counter() - started}
        if ran.returncode or not file.exists():
            return {**taken, "failed": _end_of(ran.stdout) or f"exit status {ran.returncode}"}
        return {**taken, "figures": json.loads(file.read_text())}


def _end_of(output: str | bytes | None) -> str:
    """The last words of what a step printed. `subprocess` has bytes where it ran out of time."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return " ".join(text[-_SHOWN:].split())


def run_all(names: list[str], *, device: str, dry_run: bool, seconds: float, json_file: Path, page: Path) -> bool:
    """All steps one after the other; within so many seconds, unless it is a trial. Returns whether all is well."""
    started = time.perf_counter()
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="minutes"), "dry_run": dry_run, "steps": {}}
    for name in names:
        left = seconds - (time.perf_counter() - started)
        limit = min(LIMITS[name], left) if not dry_run else _PATIENCE * LIMITS[name]
        step = run_step(name, limit, device=device, dry_run=dry_run)
        report["steps"][name] = step
        report["seconds"] = time.perf_counter() - started
        for file in (json_file, page):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_json(json_file, report)
        write_file(page, write_page(report).encode())
        print(
            f"{TITLES[name]}: {step['seconds']:.0f} s" + (f", {step['failed']}" if "failed" in step else ""), flush=True
        )
    return all(is_good(name, step) for name, step in report["steps"].items())


def is_good(name: str, step: dict[str, Any]) -> bool:
    """Whether a step was done, and found nothing wrong. pytest's status 5 means that no test was chosen."""
    figures = step.get("figures", {})
    wrong = figures.get("failed") if name == "answers" else figures.get("exit status") not in (None, 0, 5)
    return "failed" not in step and not wrong


def do_step(name: str, file: Path, *, device: str, dry_run: bool, seconds: float) -> None:
    """One step, in this process: its figures to a file. Shortly before its time is over it prints where it stands."""
    faulthandler.dump_traceback_later(max(1.0, 0.9 * seconds), file=sys.stdout)
    from benchmarks.gpu_check.setup import Setup  # torch, which the process above all steps does without

    module = importlib.import_module(f"benchmarks.gpu_check.{name}")
    write_json(file, module.measure(Setup(device, small=dry_run)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="small networks on the CPU, to try the check")
    parser.add_argument("--device", help="of torch; default: cuda, or cpu with --dry-run")
    parser.add_argument("--seconds", type=float, default=530.0, help="in which the whole check ends")
    parser.add_argument("--only", action="append", choices=list(LIMITS), help="may be repeated; default: every step")
    parser.add_argument("--json", type=Path, default=Path("out/gpu-check.json"))
    parser.add_argument("--page", type=Path, default=Path("out/gpu-check.md"))
    parser.add_argument("--step", choices=list(LIMITS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    device = chosen.device or ("cpu" if chosen.dry_run else "cuda")
    if chosen.step:
        do_step(chosen.step, chosen.json, device=device, dry_run=chosen.dry_run, seconds=chosen.seconds)
        return 0
    whole = run_all(
        chosen.only or list(LIMITS),
        device=device,
        dry_run=chosen.dry_run,
        seconds=chosen.seconds,
        json_file=chosen.json,
        page=chosen.page,
    )
    print(f"{chosen.page} and {chosen.json} are written")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
