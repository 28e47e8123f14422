"""The command as it is installed: help, predictions in process, errors as one line, a server that stops on Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.diffsight.command import ENVIRONMENT, assert_one_line_error, diffsight


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, png: bytes) -> list[Path]:
    """Two files with a picture each."""
    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / "one.png", folder / "two.png"]
    for file in files:
        file.write_bytes(png)
    return files


def test_mistakes_are_one_line_with_the_next_step(pictures: list[Path], tmp_path: Path) -> None:
    zero_shot = ("predict", "zero-shot", pictures[0])
    assert_one_line_error(diffsight(*zero_shot), "--labels", "predict zero-shot --help")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a,b", "--budget", "soon"), "--budget", "--help")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a", "--dtype", "int8"), "DIFFSIGHT_DTYPE")
    assert_one_line_error(diffsight(*zero_shot, "--labels", "a", "--config", "/no.toml"), "/no.toml", "--config")
    out = pictures[0] / "below a file.npy"
    done = diffsight("predict", "features", pictures[0], "--npy", out)
    assert_one_line_error(done, "--npy", str(out), "name another file")
    assert_one_line_error(diffsight("models", DIFFSIGHT_BACKBON="x"), "did you mean DIFFSIGHT_BACKBONE?")


def test_the_module_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "diffsight", "--version"], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout == diffsight("--version").stdout
