"""The `--help` of every command as one page, for docs/cli.md."""

from __future__ import annotations

import os
import subprocess
import sys

COMMANDS = (
    (),
    ("serve",),
    ("predict",),
    ("predict", "zero-shot"),
    ("predict", "features"),
    ("predict", "few-shot"),
    ("predict", "pose"),
    ("predict", "classifier"),
    ("fit",),
    ("fit", "few-shot"),
    ("fit", "pose"),
    ("fit", "classifier"),
    ("evaluate",),
    ("evaluate", "few-shot"),
    ("evaluate", "pose"),
    ("sweep",),
    ("sweep", "features"),
    ("annotate",),
    ("predict", "depth"),
    ("predict", "segmentation"),
    ("predict", "referring"),
    ("fit", "depth"),
    ("evaluate", "depth"),
    ("evaluate", "referring"),
    ("models",),
    ("models", "add"),
    ("models", "list"),
    ("models", "check"),
    ("models", "remove"),
    ("keys",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke"),
    ("demo",),
)


def reference() -> str:
    """Markdown: each command with its help, as a terminal of 100 columns shows it."""
    return "\n\n".join(f"## `{' '.join(('diffsight', *one))}`\n\n```text\n{help_of(*one)}\n```" for one in COMMANDS)


def help_of(*command: str) -> str:
    """What `diffsight COMMAND --help` prints."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "diffsight", *command, "--help"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    # Under `python -m` the program's name would be that of the interpreter.
    lines = run.stdout.replace("python -m diffsight", "diffsight").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()
