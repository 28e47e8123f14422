"""Runs a call of docs/protocols.md against a server, by the client in this environment or in one of its own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.conftest import Server
from tests.protocols.native import CHECKS, IMAGE, Native
from tests.protocols.page import Example

# After the code of a call, in the environment of its client.
_TELL = """
import json
print("ANSWER", json.dumps(answer, default=lambda array: array.tolist()))
"""


def run_example(example: Example, server: Server, native: Native, sdk_python: str | None = None) -> None:
    """Run a call and compare its answer. Raises the error of either.

    sdk_python: the interpreter of the environment in which clients are that have one of their own.
    """
    names = {"SERVER": server.url, "IMAGE": str(IMAGE), "CLASSIFIER": native.classifier}
    if example.apart:
        assert sdk_python is not None
        answer = _run_apart(example, names, sdk_python)
    else:
        space: dict[str, Any] = dict(names)
        exec(compile(example.code, f"docs/protocols.md {example.client} {example.task}", "exec"), space)
        answer = space["answer"]
    CHECKS[example.client, example.task](answer, native)


def _run_apart(example: Example, names: dict[str, str], python: str) -> Any:
    assignments = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    command = [python, "-c", f"{assignments}\n{example.code}{_TELL}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    return json.loads(line.removeprefix("ANSWER "))
