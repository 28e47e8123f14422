"""Groups import a command when it is called."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.diffsight.command import ENVIRONMENT


@pytest.mark.parametrize("command", [(), ("fit",), ("evaluate",), ("keys",)])
def test_help_does_not_wait_for_torch(command: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from diffsight.cli import app\n"
        f"sys.argv = ['diffsight', *{command!r}, '--help']\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'fastapi', 'uvicorn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "[]"
