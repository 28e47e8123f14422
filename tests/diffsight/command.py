"""The command as it is installed, for tests to call."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from typer.testing import CliRunner

from diffsight.cli import app, main
from diffsight.cli.progress_lines import PREFIX

SCRIPT = Path(sys.executable).with_name("diffsight")
# One thread: on shared cores torch's threads wait for each other longer than they compute.
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "DIFFSIGHT_ENGINE__TORCH_THREADS": "1"}
SECONDS = 180


def diffsight(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command's status and output, as a shell would see them, from a run within this process.

    Importing the libraries takes a process seconds: only tests of the process itself (`script`) do it.
    """
    command = [str(SCRIPT), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {**ENVIRONMENT, **environment}))
        stack.enter_context(mock.patch.object(sys, "argv", command))
        stack.enter_context(mock.patch.object(sys, "stdin", io.StringIO()))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(command, status, out.getvalue(), drop_progress(err.getvalue()))


def script(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same from a process of its own."""
    return run([str(SCRIPT), *map(str, arguments)], {**ENVIRONMENT, **environment}, SECONDS)


def run(command: list[str], environment: dict[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """A command's status and output, without its lines of progress: how many there are depends on the machine."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    done.stderr = drop_progress(done.stderr)
    return done


def drop_progress(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(PREFIX))


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
    assert all(word in line for word in words), line
