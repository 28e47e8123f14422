"""The commands of the README work as they are printed, against the real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import Server

ROOT = Path(__file__).parents[2]


def commands(start: str) -> list[str]:
    """Shell commands of the README's blocks that begin with `start`, their continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [block.replace("\\\n", " ").strip() for block in blocks if block.startswith(start)]


def run(command: str) -> str:
    return subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_curl_commands_answer(server: Server, tmp_path: Path) -> None:
    zero_shot, features = commands("curl")
    answer = json.loads(run(zero_shot.replace("http://127.0.0.1:8000", server.url)))
    assert answer["label"] == "seven"
    file = tmp_path / "seven.npy"
    run(features.replace("http://127.0.0.1:8000", server.url).replace("seven.npy", str(file)))
    assert np.load(file).shape[0] == 1


def test_the_predict_command_answers() -> None:
    (predict,) = commands(".venv/bin/diffsight")
    script = Path(sys.executable).with_name("diffsight")
    assert "seven" in run(predict.replace(".venv/bin/diffsight", str(script)))


def test_make_alone_lists_the_targets_that_the_readme_names() -> None:
    listed = run("make --no-print-directory")
    for target in ("demo", "test", "serve", "lint", "bench", "conformance"):
        assert re.search(rf"^{target}\s", listed, re.MULTILINE)
