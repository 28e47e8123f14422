"""The command as it is installed, for tests to call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from diffsight.cli import app
from diffsight.cli.progress_lines import PREFIX

SCRIPT = Path(sys.executable).with_name("diffsight")
# One thread: where cores are shared, torch's threads wait for each other longer than they compute.
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "DIFFSIGHT_ENGINE__TORCH_THREADS": "1"}
SECONDS = 180


def diffsight(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run([str(SCRIPT), *map(str, arguments)], {**ENVIRONMENT, **environment}, SECONDS)


def run(command: list[str], environment: dict[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """A command's status and output, without its lines of progress: how many there are depends on the machine."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith(PREFIX))
    return done


def invoke(*arguments: object) -> str:
    """Standard output of the command, run in this process, where errors reach the test as they are."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def assert_one_line_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("diffsight: ")
    assert all(one in line for one in words), line
