"""The tests that need a GPU, by pytest in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.setup import Setup

ROOT = Path(__file__).parents[2]


def measure(setup: Setup) -> dict[str, Any]:
    """How many passed and failed, and what failed. Where there is no GPU they are skipped."""
    # Collecting all tests would take longer than these, and more packages.
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text()]
    command = [sys.executable, "-m", "pytest", *files, "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|error|skipped)", said)}
    failures = re.findall(r"^(?:FAILED|ERROR) (.+)$", said, re.MULTILINE)
    return {"exit status": ran.returncode, **counts, **{f"failed {name}": True for name in failures}}
