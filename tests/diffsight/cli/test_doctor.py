"""`diffsight doctor`: findings as lines or JSON, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from diffsight.cli import app


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    config = folder / "diffsight.toml"
    lines = [f'{name} = "{folder / name}"' for name in ("data_folder", "models_folder")]
    if not config.exists():
        config.write_text("\n".join(['device = "cpu"', *lines]))
    done = CliRunner().invoke(app, ["doctor", "--no-answers", "--config", str(config), *arguments])
    return done.exit_code, done.stdout


def test_a_sound_machine_is_reported_line_by_line_and_exits_with_0(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 0, text
    assert "exposure: answers this machine only" in text
    assert "memory: pocket fits" in text


def test_a_problem_exits_with_1_and_json_has_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "diffsight.toml").write_text(
        f'device = "cpu"\nhost = "0.0.0.0"\n[access]\nkeys_file = "{tmp_path / "none.json"}"\n'
    )
    code, text = run(tmp_path, "--json")
    assert code == 1
    findings = {finding["check"]: finding for finding in json.loads(text)}
    assert findings["exposure"]["level"] == "problem"
    assert "diffsight keys create" in findings["exposure"]["message"]
